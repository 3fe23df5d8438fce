module eddy

go 1.19

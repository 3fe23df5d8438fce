//! tokio, on one thread.
//!
//!     tokio-echo line|bulk|sink

use std::io::Result;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

const CHUNK: usize = 65536;

async fn line(mut stream: TcpStream) -> Result<()> {
    let (input, mut output) = stream.split();
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).await? > 0 {
        output.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}

async fn bulk(mut stream: TcpStream) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

async fn sink(mut stream: TcpStream) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut seen = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.write_all(format!("{seen}\n").as_bytes()).await,
            n => seen += n,
        }
    }
}

async fn serve(mode: &str) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse().unwrap())?;
    let listener = socket.listen(4096)?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match mode {
            "line" => drop(tokio::spawn(line(stream))),
            "bulk" => drop(tokio::spawn(bulk(stream))),
            _ => drop(tokio::spawn(sink(stream))),
        }
    }
}

fn raise_file_limit() {
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut files);
        files.rlim_cur = files.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &files);
    }
}

fn main() -> Result<()> {
    let mode = std::env::args().nth(1).unwrap_or_default();
    if !["line", "bulk", "sink"].contains(&mode.as_str()) {
        eprintln!("usage: tokio-echo line|bulk|sink");
        std::process::exit(2);
    }
    raise_file_limit();
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve(&mode))
}

#include <eddy.h>

const char *plugin_eddy(void);

const char *plugin_eddy(void)
{
    return eddy_version();
}

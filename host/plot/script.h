/* The inside of a page. */
#ifndef MGN_HOST_PLOT_SCRIPT_H
#define MGN_HOST_PLOT_SCRIPT_H

#include "plot/plot.h"

#include <stdio.h>

struct mgn_plot {
    mgn_plot_page page;
    char title[512];       /* the page's */
    FILE *data, *commands; /* memory streams: all data blocks go before all commands */
    char *data_text, *command_text;
    size_t data_size, command_size;
    int panels, blocks, items; /* so far; items: of the panel that is open */
    mgn_status status;         /* of the first failure, and its sentence */
    char sentence[512];
};

#endif

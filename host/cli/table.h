/* Aligned plain tables on standard output: fill cells row by row, print once. */
#ifndef MGN_CLI_TABLE_H
#define MGN_CLI_TABLE_H

#include "core/core.h"

typedef struct cli_table cli_table;

/* Headings of the columns, separated by '|'. A heading that starts with '>' is for numbers: right-aligned. NULL when
 * memory runs out. */
cli_table *cli_table_create(const char *headings);

/* The next cell, row by row. Running out of memory is remembered and reported by cli_table_print. */
void cli_table_cell(cli_table *table, const char *format, ...) MGN_PRINTF(2, 3);

/* Prints what there is and destroys the table. Takes NULL (out of memory). Errors: MEMORY. */
mgn_status cli_table_print(cli_table *table);

/* Without printing. Takes NULL. */
void cli_table_destroy(cli_table *table);

#endif

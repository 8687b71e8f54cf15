/* `mgn experiment NAME.. -o DIR`: experiments as one page. */
#ifndef MGN_CLI_EXPERIMENT_REPORT_H
#define MGN_CLI_EXPERIMENT_REPORT_H

#include "cli.h"

typedef struct cli_report_options {
    const char *folder, *data;
    bool quick, force;
} cli_report_options;

/* The experiments that the words of `common` name, "all" being all of them. Prints a summary, or results.json under
 * --json, also when some of them failed. */
mgn_status cli_write_report(const cli_common *common, const cli_report_options *options);

/* That each word is an experiment, a section of the report or "all". Errors: ARGUMENT. */
mgn_status cli_check_report_names(const cli_common *common);

/* All names that a command line may have, with | between them. */
void cli_report_names(char *text, size_t capacity);

/* One line for each experiment. */
mgn_status cli_list_experiments(bool json);

#endif

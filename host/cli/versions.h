/* Versions of this program and of the libraries it runs with. */
#ifndef MGN_CLI_VERSIONS_H
#define MGN_CLI_VERSIONS_H

#include "report/report.h"

enum { CLI_MOST_VERSIONS = 16 };

typedef struct cli_versions {
    mgn_report_fact rows[CLI_MOST_VERSIONS]; /* texts of the libraries, and those below */
    size_t count;
    char loader[96], lapack[32];
} cli_versions;

/* `versions` must not be moved afterwards. */
void cli_find_versions(cli_versions *versions);

#endif

/* The commands' help in other forms: manual pages (roff), and completions for bash and zsh. All are made from the tables
 * of commands and options when the project is built (`mgn --help man`, `mgn COMMAND --help man`, `mgn --help bash`,
 * `mgn --help zsh`), so nothing is said twice and nothing can fall behind. */
#ifndef MGN_CLI_MANUAL_H
#define MGN_CLI_MANUAL_H

#include "options.h"

/* Whether `form` is one of these forms: "man", "bash" or "zsh". NULL is none. */
bool cli_is_manual(const char *form);

/* Prints what `form` says about one command: its manual page, or its part of a completion. The first `own` of the
 * `count` options are the command's own. */
void cli_print_command(const char *form, const cli_command *command, const cli_option *options, size_t own,
                       size_t count);

/* Prints what `form` says about the program, `summary` in one line: mgn(1), or the whole completion, in which each command prints its part. */
mgn_status cli_print_program(const char *form, const char *summary, const cli_command *commands, size_t count);

#endif

/* Files that a command writes: checked before it starts to compute, written when everything is done. */
#ifndef MGN_CLI_OUTPUTS_H
#define MGN_CLI_OUTPUTS_H

#include <mgn/core.h>

/* Fails when `path` could not be written (no such directory, no permission, a directory). Nothing is left there. */
mgn_status cli_check_writable(const char *path);

/* Whether two names mean the same file, also when it does not exist yet. */
bool cli_same_file(const char *a, const char *b);

/* Fails when the output `path` is one of the inputs: a command never writes over what it reads. */
mgn_status cli_check_apart(const char *path, const char *const *inputs, size_t count);

#endif

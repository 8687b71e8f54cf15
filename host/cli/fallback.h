/* --fallback: doing a command's work on the cpu where the device fails. This is done once, around the whole command: it is run,
 * and where a device other than the cpu was the trouble, it is run again with its own words on the cpu. So every command ends
 * with the bits that it would have had with --device cpu, and none knows anything of this but where it opens its device
 * (common.c) and where its trainings keep their state (training.c): a training goes on from a checkpoint that the first run
 * has written. */
#ifndef MGN_CLI_FALLBACK_H
#define MGN_CLI_FALLBACK_H

#include <mgn/device.h>

#include "options.h"

typedef struct cli_kept cli_kept; /* a checkpoint, as it was before the command */

/* What a command's two runs know of one another. */
typedef struct cli_fallback {
    const char *spec;   /* --fallback; NULL: not given */
    bool is_second;     /* the run on the cpu is under way */
    bool uses_device;   /* a device other than the cpu was opened */
    bool lacks_device;  /* it could not be, and --fallback was not given */
    bool lacks_float64; /* that device did */
    cli_kept *kept;     /* the last first; owned */
    char *resumed;      /* the file that the last training began from; owned, NULL: none */
} cli_fallback;

/* Whether the command has work that the cpu can do: not what is asked about devices themselves. */
bool cli_may_fall_back(const cli_command *command);

/* Runs the command, for which cli_may_fall_back, on all processes of its group; twice if need be. */
mgn_status cli_run_with_fallback(const cli_command *command, int argc, char **argv);

/* Whether the command will be run again after this failure: then nothing is to be printed. Takes NULL. */
bool cli_will_run_again(const cli_fallback *fallback, mgn_status status);

/* Opens a device as mgn_device_open does: in the second run the cpu. Where a device cannot be opened and --fallback was given,
 * it says so and opens the cpu. `fallback`: NULL is none. */
mgn_status cli_fallback_open(cli_fallback *fallback, const char *spec, mgn_device **device);

/* A training is about to write its checkpoints to `path`, and begins from the file `resume` (NULL: from the start). Gives in
 * the second run what the first left at `path`, if anything; else `resume`. Errors: MEMORY. */
mgn_status cli_fallback_checkpoint(cli_fallback *fallback, const char *path, const char **resume);

/* Whether float64 is usual on the device: not where a training goes on that was begun without. */
bool cli_fallback_has_float64(const cli_fallback *fallback, const mgn_device *device);

#endif

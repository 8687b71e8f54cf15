/* Options of every command that trains for long: checkpoints, resuming, curves, early stops. */
#ifndef MGN_CLI_TRAINING_H
#define MGN_CLI_TRAINING_H

#include <mgn/train.h>

#include "options.h"

enum { CLI_LONGEST_PATH = 4096 };

/* The command line; `retries` holds the command's default. */
typedef struct cli_training {
    const char *checkpoint, *every, *resume, *log;
    int64_t patience, retries;
} cli_training;

/* Rows of a command's table of options. */
#define CLI_TRAINING_OPTIONS(t)                                                                                        \
    {"checkpoint",                                                                                                     \
     0,                                                                                                                \
     CLI_TEXT,                                                                                                         \
     "FILE|DIR",                                                                                                       \
     "keep the state of training there, to go on from it after a crash; of several trainings, one file each in DIR",   \
     &(t).checkpoint,                                                                                                  \
     0,                                                                                                                \
     0},                                                                                                               \
        {"checkpoint-every",                                                                                           \
         0,                                                                                                            \
         CLI_TEXT,                                                                                                     \
         "N|TIME",                                                                                                     \
         "epochs between two checkpoints, or time: 30s, 10m, 1h (default 60s)",                                        \
         &(t).every,                                                                                                   \
         0,                                                                                                            \
         0},                                                                                                           \
        {"resume",                                                                                                     \
         0,                                                                                                            \
         CLI_TEXT,                                                                                                     \
         "FILE|DIR",                                                                                                   \
         "go on from a checkpoint, to the same bits as without a stop; the other options are those it was begun "      \
         "with. "                                                                                                      \
         "It goes on being written unless --checkpoint names another",                                                 \
         &(t).resume,                                                                                                  \
         0,                                                                                                            \
         0},                                                                                                           \
        {"log",                                                                                                        \
         0,                                                                                                            \
         CLI_TEXT,                                                                                                     \
         "FILE|DIR",                                                                                                   \
         "a line after every epoch: epoch, step, loss, held_out, lr, cost, seconds; .csv or .jsonl (DIR: .csv)",       \
         &(t).log,                                                                                                     \
         0,                                                                                                            \
         0},                                                                                                           \
        {"patience",                                                                                                   \
         0,                                                                                                            \
         CLI_LONG,                                                                                                     \
         "N",                                                                                                          \
         "stop after N epochs without a lower loss of the rows held out, and keep the best parameters; plateau looks " \
         "at that loss too (default: off)",                                                                            \
         &(t).patience,                                                                                                \
         1,                                                                                                            \
         100000000},                                                                                                   \
    {                                                                                                                  \
        "retries", 0, CLI_LONG, "N",                                                                                   \
            "go back so often, to a quarter of the learning rate, where training diverges (default: fit 5, else 0)",   \
            &(t).retries, 0, 100                                                                                       \
    }

/* That neither checkpoint nor log is one of the command's other files, and that both are directories where there may be
 * several trainings: is_one says that there is one. Errors: ARGUMENT. */
mgn_status cli_training_check(const cli_training *training, bool is_one, const char *const *others, size_t count);

/* Where one training's files are. */
typedef struct cli_training_paths {
    char checkpoint[CLI_LONGEST_PATH], resume[CLI_LONGEST_PATH], log[CLI_LONGEST_PATH];
} cli_training_paths;

/* What mgn_train is told, after cli_training_check. `label` names the training's files in a directory. What there is to resume
 * in a directory is resumed, and on the cpu what a device that failed has left (`fallback`, or NULL). `paths` and `fallback`
 * must outlive `control`. Errors: ARGUMENT, IO, MEMORY. */
mgn_status cli_training_control(const cli_training *training, cli_fallback *fallback, const char *label,
                                cli_training_paths *paths, mgn_train_control *control);

/* How fast the training has been so far; 0 before the first step. */
double cli_steps_a_second(const mgn_train_report *report);

#endif

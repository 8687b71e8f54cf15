/* What the commands share, and the commands themselves. */
#ifndef MGN_CLI_CLI_H
#define MGN_CLI_CLI_H

#include <cjson/cJSON.h>

#include <mgn/comm.h>
#include <mgn/device.h>

#include "options.h"
#include "table.h"

/* Opens the device that --device or MGN_DEVICE names; says on standard error what "auto" took. */
mgn_status cli_open_device(const cli_common *common, mgn_device **device);

/* Of several processes: says which devices they have opened. All of them call it. */
mgn_status cli_say_devices(const cli_common *common, const mgn_device *device);

/* Whether this process prints and writes: of several the first alone does. */
bool cli_is_first(const cli_common *common);

/* Prints the object on standard output, with a line end, and deletes it. Takes NULL (out of memory). Errors: MEMORY. */
mgn_status cli_print_json(cJSON *object);

/* This program's and every linked library's version, one per line or as JSON. */
mgn_status cli_print_versions(bool json);

/* What main does with its words, argv[0] being the program's name (main.c); `comm` is NULL for a process alone. */
mgn_status cli_dispatch(int argc, char **argv, mgn_comm *comm);

/* ---- the commands: host/cli/cmd_<name>.c, one function each ---- */

mgn_status cmd_apply(const cli_command *command, int argc, char **argv);
mgn_status cmd_bench(const cli_command *command, int argc, char **argv);
mgn_status cmd_check(const cli_command *command, int argc, char **argv);
mgn_status cmd_devices(const cli_command *command, int argc, char **argv);
mgn_status cmd_eval(const cli_command *command, int argc, char **argv);
mgn_status cmd_experiment(const cli_command *command, int argc, char **argv);
mgn_status cmd_fit(const cli_command *command, int argc, char **argv);
mgn_status cmd_gmm(const cli_command *command, int argc, char **argv);
mgn_status cmd_recolor(const cli_command *command, int argc, char **argv);
mgn_status cmd_sample(const cli_command *command, int argc, char **argv);
mgn_status cmd_sinkhorn(const cli_command *command, int argc, char **argv);
mgn_status cmd_tune(const cli_command *command, int argc, char **argv);
mgn_status cmd_w2(const cli_command *command, int argc, char **argv);

#endif

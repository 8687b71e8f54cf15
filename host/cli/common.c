#include "cli.h"

#include <stdio.h>
#include <string.h>

#include "comm/comm.h"
#include "fallback.h"

/* Of several processes on a machine each takes an OpenCL device of its own, as far as there are any, and then the first again: GPUs,
 * or where there are none and "opencl" is asked for, others. NULL: none of this. */
static const char *find_own(const cli_common *common, const char *asked, mgn_device_info *infos, size_t room) {
    const bool is_auto = !asked || strcmp(asked, "auto") == 0;
    const mgn_comm *comm = common->comm;
    size_t count = 0, found = 0;
    if (!comm || comm->local_size < 2 || (!is_auto && strcmp(asked, "opencl") != 0)) return NULL;
    if (mgn_device_list(infos, room, &count) != MGN_OK) return NULL;
    for (int is_cpu = 0; is_cpu <= (is_auto ? 0 : 1) && found == 0; is_cpu++)
        for (size_t i = 0; i < MGN_MIN(count, room); i++)
            if (strncmp(infos[i].spec, "opencl", 6) == 0 && infos[i].is_cpu == (is_cpu != 0)) infos[found++] = infos[i];
    return found ? infos[(size_t)comm->local_rank % found].spec : NULL;
}

mgn_status cli_open_device(const cli_common *common, mgn_device **device) {
    const char *asked = common->device ? common->device : mgn_environment("MGN_DEVICE");
    mgn_device_info infos[32];
    const char *own = find_own(common, asked, infos, MGN_COUNT(infos));
    MGN_TRY(cli_fallback_open(common->fallback, own ? own : common->device, device));
    const mgn_device_info *info = mgn_device_get_info(*device);
    if (!asked || strcmp(asked, "auto") == 0)
        mgn_note("device %s (%s); --device takes another, `mgn devices` lists them", info->spec, info->name);
    return MGN_OK;
}

enum { SPEC = 32, MOST_NAMED = 16 };

static void note_devices(const char (*specs)[SPEC], int size) {
    char list[MOST_NAMED * (SPEC + 2) + 8] = "";
    bool is_worth_it = false;
    size_t at = 0;
    for (int r = 0; r < size; r++) {
        is_worth_it = is_worth_it || strcmp(specs[r], "cpu") != 0;
        if (r < MOST_NAMED) at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", r ? ", " : "", specs[r]);
    }
    if (is_worth_it)
        mgn_note("the %d processes compute on %s%s, in their order", size, list, size > MOST_NAMED ? ", ..." : "");
}

mgn_status cli_say_devices(const cli_common *common, const mgn_device *device) {
    const int size = mgn_comm_size(common->comm);
    char own[SPEC] = "";
    if (size == 1) return MGN_OK;
    char(*specs)[SPEC] = mgn_alloc((size_t)size, sizeof *specs);
    int64_t *sizes = mgn_alloc(2 * (size_t)size, sizeof *sizes);
    snprintf(own, sizeof own, "%s", mgn_device_get_info(device)->spec);
    for (int r = 0; sizes && r < size; r++) sizes[r] = SPEC;
    mgn_status status = mgn_comm_agree(common->comm, specs && sizes ? MGN_OK : MGN_ERR_MEMORY);
    if (status == MGN_OK) status = mgn_comm_gather(common->comm, own, sizes, specs);
    if (status == MGN_OK && specs) note_devices((const char(*)[SPEC])specs, size);
    mgn_free(specs);
    mgn_free(sizes);
    return status;
}

bool cli_is_first(const cli_common *common) { return mgn_comm_rank(common->comm) == 0; }

mgn_status cli_print_json(cJSON *object) {
    char *text = object ? cJSON_Print(object) : NULL;
    cJSON_Delete(object);
    if (!text) return mgn_fail(MGN_ERR_MEMORY, "out of memory while the JSON object was made");
    puts(text);
    cJSON_free(text);
    return MGN_OK;
}

#include "cli.h"

#include <stdio.h>
#include <string.h>

mgn_status cli_open_device(const cli_common *common, mgn_device **device) {
    const char *asked = common->device ? common->device : mgn_environment("MGN_DEVICE");
    MGN_TRY(mgn_device_open(common->device, device));
    const mgn_device_info *info = mgn_device_get_info(*device);
    if (!asked || strcmp(asked, "auto") == 0)
        mgn_note("device %s (%s); --device takes another, `mgn devices` lists them", info->spec, info->name);
    return MGN_OK;
}

mgn_status cli_print_json(cJSON *object) {
    char *text = object ? cJSON_Print(object) : NULL;
    cJSON_Delete(object);
    if (!text) return mgn_fail(MGN_ERR_MEMORY, "out of memory while the JSON object was made");
    puts(text);
    cJSON_free(text);
    return MGN_OK;
}

/* `mgn devices`: every device, and which one the other commands take. */
#include <string.h>

#include "backend/opencl/tuning.h"
#include "cli.h"

enum { MAX_DEVICES = 64 };

static const char *purpose(const mgn_device_info *info, const char *chosen) {
    bool taken = strcmp(info->spec, chosen) == 0;
    if (strcmp(info->spec, "cpu") == 0) return taken ? "default; reference" : "reference and fallback";
    if (taken) return "default";
    return info->is_cpu ? "on request (shares the host's cores)" : "on request";
}

/* Whether `mgn tune` left something for the device. */
static bool is_tuned(const mgn_device_info *info) {
    if (strncmp(info->spec, "opencl", 6) != 0) return false;
    cJSON *kept = mgn_cl_tuning_load(info, NULL);
    cJSON_Delete(kept);
    return kept != NULL;
}

static mgn_status print_json(const mgn_device_info *infos, size_t count, const char *chosen) {
    cJSON *object = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(object, "devices");
    for (size_t i = 0; i < count; i++) {
        const mgn_device_info *info = &infos[i];
        cJSON *row = cJSON_CreateObject();
        cJSON_AddStringToObject(row, "spec", info->spec);
        cJSON_AddStringToObject(row, "name", info->name);
        cJSON_AddStringToObject(row, "platform", info->platform);
        cJSON_AddStringToObject(row, "version", info->version);
        cJSON_AddNumberToObject(row, "memory_bytes", (double)info->memory_bytes);
        cJSON_AddNumberToObject(row, "compute_units", info->compute_units);
        cJSON_AddBoolToObject(row, "is_cpu", info->is_cpu);
        cJSON_AddBoolToObject(row, "has_f64", info->has_f64);
        cJSON_AddBoolToObject(row, "tuned", is_tuned(info));
        cJSON_AddBoolToObject(row, "default", strcmp(info->spec, chosen) == 0);
        cJSON_AddStringToObject(row, "used_for", purpose(info, chosen));
        cJSON_AddItemToArray(list, row);
    }
    cJSON_AddStringToObject(object, "default", chosen);
    cJSON_AddNumberToObject(object, "threads", mgn_threads());
    return cli_print_json(object);
}

static mgn_status print_text(const mgn_device_info *infos, size_t count, const char *chosen) {
    cli_table *table = cli_table_create("device|name|platform|version|>memory|>units|float64|tuned|used");
    for (size_t i = 0; i < count; i++) {
        const mgn_device_info *info = &infos[i];
        cli_table_cell(table, "%s", info->spec);
        cli_table_cell(table, "%s", info->name);
        cli_table_cell(table, "%s", info->platform);
        cli_table_cell(table, "%s", info->version);
        cli_table_cell(table, "%.1f GiB", (double)info->memory_bytes / 0x1p30);
        cli_table_cell(table, "%d", info->compute_units);
        cli_table_cell(table, "%s", info->has_f64 ? "yes" : "no");
        cli_table_cell(table, "%s", is_tuned(info) ? "yes" : strcmp(info->spec, "cpu") == 0 ? "-" : "no");
        cli_table_cell(table, "%s", purpose(info, chosen));
    }
    return cli_table_print(table);
}

mgn_status cmd_devices(const cli_command *command, int argc, char **argv) {
    cli_common common;
    MGN_TRY(cli_parse(command, argc, argv, NULL, 0, &common));
    if (common.help) return MGN_OK;
    mgn_device_info infos[MAX_DEVICES];
    size_t count = 0;
    MGN_TRY(mgn_device_list(infos, MAX_DEVICES, &count));
    if (count > MAX_DEVICES) count = MAX_DEVICES;
    /* The library decides what the default is, so it is asked: also a --device that does not exist is told here. */
    mgn_device *device = NULL;
    MGN_TRY(mgn_device_open(common.device, &device));
    char chosen[sizeof infos[0].spec];
    memcpy(chosen, mgn_device_get_info(device)->spec, sizeof chosen);
    mgn_device_close(device);
    return common.json ? print_json(infos, count, chosen) : print_text(infos, count, chosen);
}

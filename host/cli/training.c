#include "training.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"
#include "core/file.h"
#include "core/parse.h"
#include "fallback.h"
#include "outputs.h"

/* "12" epochs, or "30s", "10m", "1h". */
static mgn_status parse_every(const char *text, mgn_train_control *control) {
    char digits[32];
    const size_t length = strlen(text);
    const char unit = length ? text[length - 1] : 0;
    const double seconds = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : 0;
    if (seconds == 0) return mgn_parse_integer("--checkpoint-every", text, 1, 100000000, &control->checkpoint_epochs);
    snprintf(digits, sizeof digits, "%.*s", (int)MGN_MIN(length - 1, sizeof digits - 1), text);
    MGN_TRY(mgn_parse_real("--checkpoint-every", digits, 1e-3, 1e6, &control->checkpoint_seconds));
    control->checkpoint_seconds *= seconds;
    return MGN_OK;
}

static bool is_directory(const char *path) {
    struct stat about;
    const size_t length = strlen(path);
    return (length && path[length - 1] == '/') || (stat(path, &about) == 0 && S_ISDIR(about.st_mode));
}

/* The file that `given`, a file or directory, means for a training. */
static mgn_status find_path(const char *option, const char *given, const char *label, const char *ending,
                            char path[CLI_LONGEST_PATH]) {
    const bool is_folder = is_directory(given);
    const char *slash = given[strlen(given) - 1] == '/' ? "" : "/";
    const int length = is_folder ? snprintf(path, CLI_LONGEST_PATH, "%s%s%s%s", given, slash, label, ending)
                                 : snprintf(path, CLI_LONGEST_PATH, "%s", given);
    if (length >= CLI_LONGEST_PATH) return mgn_fail(MGN_ERR_ARGUMENT, "%s: the name is too long", option);
    return is_folder ? mgn_make_directory(given) : MGN_OK;
}

mgn_status cli_training_check(const cli_training *t, bool is_one, const char *const *others, size_t count) {
    static const char *const options[] = {"--checkpoint", "--resume", "--log"};
    mgn_train_control every;
    if (t->every && !t->checkpoint && !t->resume)
        return mgn_fail(MGN_ERR_ARGUMENT, "--checkpoint-every: --checkpoint is missing: where the state goes");
    if (t->every) MGN_TRY(parse_every(t->every, &every));
    const char *const own[] = {t->checkpoint, t->resume, t->log};
    for (size_t i = 0; i < MGN_COUNT(own); i++) {
        if (!own[i]) continue;
        MGN_TRY(cli_check_apart(own[i], others, count));
        if (!is_one && !is_directory(own[i]))
            return mgn_fail(MGN_ERR_ARGUMENT,
                            "%s: there are several trainings; a directory was expected, as in %.200s/", options[i],
                            own[i]);
    }
    if (t->log && t->checkpoint && cli_same_file(t->log, t->checkpoint) && !is_directory(t->log))
        return mgn_fail(MGN_ERR_ARGUMENT, "--log and --checkpoint name one file, %.200s", t->log);
    return MGN_OK;
}

mgn_status cli_training_control(const cli_training *t, cli_fallback *fallback, const char *label,
                                cli_training_paths *paths, mgn_train_control *control) {
    const char *checkpoint = t->checkpoint ? t->checkpoint : t->resume;
    *control = (mgn_train_control){.patience = t->patience, .retries = t->retries};
    if (t->every) MGN_TRY(parse_every(t->every, control));
    if (checkpoint) {
        MGN_TRY(find_path("--checkpoint", checkpoint, label, ".safetensors", paths->checkpoint));
        control->checkpoint = paths->checkpoint;
    }
    if (t->resume) {
        MGN_TRY(find_path("--resume", t->resume, label, ".safetensors", paths->resume));
        const bool is_new = is_directory(t->resume) && access(paths->resume, F_OK) != 0;
        control->resume = is_new ? NULL : paths->resume;
    }
    if (checkpoint) MGN_TRY(cli_fallback_checkpoint(fallback, paths->checkpoint, &control->resume));
    if (!t->log) return MGN_OK;
    MGN_TRY(find_path("--log", t->log, label, ".csv", paths->log));
    control->log = paths->log;
    return MGN_OK;
}

double cli_steps_a_second(const mgn_train_report *report) {
    return report->seconds > 0 ? (double)report->steps / report->seconds : 0;
}

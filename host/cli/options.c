#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "comm/comm.h"
#include "core/core.h"
#include "core/parallel.h"
#include "core/parse.h"
#include "fallback.h"
#include "manual.h"

enum { MAX_OPTIONS = 64, FIRST_LONG = 256, HELP_WIDTH = 100, HELP_COLUMN = 28 };

/* A command's own options followed by the common ones. */
typedef struct option_list {
    cli_option rows[MAX_OPTIONS];
    size_t count, own;
} option_list;

static mgn_status collect(option_list *list, const cli_option *own, size_t own_count, const cli_option *shared,
                          size_t shared_count) {
    if (own_count + shared_count > MAX_OPTIONS)
        return mgn_fail(MGN_ERR_ARGUMENT, "a command has more than %d options", MAX_OPTIONS);
    list->own = own_count;
    list->count = own_count + shared_count;
    if (own_count) memcpy(list->rows, own, own_count * sizeof *own);
    memcpy(list->rows + own_count, shared, shared_count * sizeof *shared);
    return MGN_OK;
}

/* ---- help ---- */

/* Words of `text` wrapped at HELP_WIDTH; the first line starts in column `column`, the others are indented to it. */
static void print_wrapped(const char *text, size_t column) {
    size_t at = column;
    bool first = true;
    while (*text) {
        size_t length = strcspn(text, " ");
        if (!first && at + 1 + length > HELP_WIDTH) {
            printf("\n%*s", (int)column, "");
            at = column;
            first = true;
        }
        at += (size_t)printf("%s%.*s", first ? "" : " ", (int)length, text);
        first = false;
        text += length;
        while (*text == ' ') text++;
    }
    putchar('\n');
}

static void print_paragraphs(const char *text) {
    while (*text) {
        char line[2048];
        size_t length = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)length, text);
        print_wrapped(line, 0);
        text += length + (text[length] == '\n');
    }
}

static void print_option(const cli_option *option) {
    char names[96];
    int width = snprintf(names, sizeof names, "  %c%c%s --%s%s%s", option->letter ? '-' : ' ',
                         option->letter ? option->letter : ' ', option->letter ? "," : " ", option->label,
                         option->value ? " " : "", option->value ? option->value : "");
    if (width >= HELP_COLUMN)
        printf("%s\n%*s", names, HELP_COLUMN, "");
    else
        printf("%-*s", HELP_COLUMN, names);
    print_wrapped(option->help, HELP_COLUMN);
}

static void print_help(const cli_command *command, const option_list *list) {
    printf("usage: mgn %s%s%s\n\n", command->label, *command->usage ? " " : "", command->usage);
    print_wrapped(command->summary, 0);
    if (*command->details) {
        putchar('\n');
        print_paragraphs(command->details);
    }
    if (list->own) printf("\nOptions:\n");
    for (size_t i = 0; i < list->own; i++) print_option(&list->rows[i]);
    printf("\nOptions of every command:\n");
    for (size_t i = list->own; i < list->count; i++) print_option(&list->rows[i]);
    printf("\nExamples:\n");
    for (const char *line = command->examples; *line;) {
        size_t length = strcspn(line, "\n");
        printf("  %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

/* ---- values ---- */

static mgn_status store_choice(const cli_option *option, const char *what, const char *text) {
    char word[64];
    const char *best = NULL;
    char nearest[64];
    for (const char *choice = option->value; *choice;) {
        size_t length = strcspn(choice, "|");
        snprintf(word, sizeof word, "%.*s", (int)length, choice);
        if (strcmp(word, text) == 0) {
            *(const char **)option->target = text;
            return MGN_OK;
        }
        const char *better = best;
        mgn_nearest(text, word, &better);
        if (better == word) {
            memcpy(nearest, word, sizeof nearest);
            best = nearest;
        }
        choice += length + (choice[length] == '|');
    }
    return mgn_fail(MGN_ERR_ARGUMENT, "%s: '%.100s' is not one of %s%s%s%s", what, text, option->value,
                    best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

static mgn_status store(const cli_option *option, const char *text) {
    char what[80];
    int64_t whole = 0;
    snprintf(what, sizeof what, "--%s", option->label);
    switch (option->kind) {
    case CLI_FLAG: *(bool *)option->target = true; return MGN_OK;
    case CLI_INT:
        MGN_TRY(mgn_parse_integer(what, text, (int64_t)option->low, (int64_t)option->high, &whole));
        *(int *)option->target = (int)whole;
        return MGN_OK;
    case CLI_LONG: return mgn_parse_integer(what, text, (int64_t)option->low, (int64_t)option->high, option->target);
    case CLI_REAL: return mgn_parse_real(what, text, option->low, option->high, option->target);
    case CLI_CHOICE: return store_choice(option, what, text);
    case CLI_TEXT:
    case CLI_LIST: break;
    }
    if (!*text) return mgn_fail(MGN_ERR_ARGUMENT, "%s needs %s, and was given an empty text", what, option->value);
    if (option->kind == CLI_TEXT) {
        *(const char **)option->target = text;
        return MGN_OK;
    }
    cli_list *list = option->target;
    if (list->count == CLI_LONGEST_LIST)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s may be given %d times", what, CLI_LONGEST_LIST);
    list->items[list->count++] = text;
    return MGN_OK;
}

/* ---- parsing ---- */

/* `word` is the argument as typed: an unknown option, an ambiguous one, or a flag with a value. */
static mgn_status refuse(const cli_command *command, const option_list *list, const char *word, int code) {
    if (code >= FIRST_LONG)
        return mgn_fail(MGN_ERR_ARGUMENT, "--%s takes no value, and was given '%.100s'",
                        list->rows[code - FIRST_LONG].label, word);
    if (code != 0) /* getopt_long gives the letter of a short option, 0 for a long one */
        return mgn_fail(MGN_ERR_ARGUMENT, "there is no option -%c; `mgn %s --help` lists them", code, command->label);
    char name[80];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    const char *best = NULL;
    int fitting = 0;
    for (size_t i = 0; i < list->count; i++) {
        mgn_nearest(name, list->rows[i].label, &best);
        fitting += strncmp(name, list->rows[i].label, strlen(name)) == 0;
    }
    if (fitting > 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "--%s may mean several options; `mgn %s --help` lists them", name,
                        command->label);
    return mgn_fail(MGN_ERR_ARGUMENT, "there is no option --%s%s%s%s; `mgn %s --help` lists them", name,
                    best ? "; did you mean --" : "", best ? best : "", best ? "?" : "", command->label);
}

static mgn_status read_options(const cli_command *command, int argc, char **argv, const option_list *list,
                               const bool *help) {
    struct option longs[MAX_OPTIONS + 1] = {0};
    char shorts[2 * MAX_OPTIONS + 2] = ":", *end = shorts + 1;
    for (size_t i = 0; i < list->count; i++) {
        const cli_option *row = &list->rows[i];
        longs[i] = (struct option){row->label, row->kind == CLI_FLAG ? no_argument : required_argument, NULL,
                                   FIRST_LONG + (int)i};
        if (!row->letter) continue;
        *end++ = row->letter;
        if (row->kind != CLI_FLAG) *end++ = ':';
    }
    opterr = 0;
    optind = 0; /* GNU: start anew */
    for (int code; (code = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const char *word = argv[optind > 1 ? optind - 1 : 1];
        if (code == '?') return refuse(command, list, word, optopt);
        bool missing = code == ':';
        if (missing) code = optopt;
        const cli_option *row = NULL;
        for (size_t i = 0; i < list->count; i++)
            if (code == FIRST_LONG + (int)i || (code < FIRST_LONG && code == list->rows[i].letter))
                row = &list->rows[i];
        if (!row) return refuse(command, list, word, code);
        if (missing)
            return mgn_fail(MGN_ERR_ARGUMENT, "--%s needs a value: --%s %s", row->label, row->label, row->value);
        MGN_TRY(store(row, optarg));
        if (*help) return MGN_OK;
    }
    return MGN_OK;
}

static mgn_status check_arguments(const cli_command *command, const cli_common *common) {
    int count = common->argument_count;
    if (count < command->min_arguments)
        return mgn_fail(MGN_ERR_ARGUMENT, "mgn %s needs %d argument%s and was given %d: mgn %s %s", command->label,
                        command->min_arguments, command->min_arguments == 1 ? "" : "s", count, command->label,
                        command->usage);
    if (count > command->max_arguments)
        return mgn_fail(MGN_ERR_ARGUMENT, "'%.100s' is one argument too many: mgn %s %s",
                        common->arguments[command->max_arguments], command->label, command->usage);
    return MGN_OK;
}

/* 0: all that this process may use. Launchers that bind processes to cores have shared them out already. */
static int share_of_cores(const mgn_comm *comm) {
    const long all = sysconf(_SC_NPROCESSORS_ONLN);
    if (!comm || comm->local_size < 2 || mgn_processors() < all) return 0;
    return (int)MGN_MAX(all / comm->local_size, 1);
}

mgn_status cli_parse(const cli_command *command, int argc, char **argv, const cli_option *options, size_t count,
                     cli_common *common) {
    *common = (cli_common){.comm = command->comm, .fallback = command->fallback};
    const char *fallback = NULL;
    int threads = 0;
    int64_t seed = -1;
    double timeout = 0;
    const cli_option shared[] = {
        {"fallback", 0, CLI_CHOICE, "cpu",
         "where the device fails, do the work there: trainings from their last checkpoint on, all else from the "
         "beginning (default: end with an error)",
         &fallback, 0, 0},
        {"device", 'd', CLI_TEXT, "SPEC",
         "cpu, opencl, opencl:P:D or auto; `mgn devices` lists them (default: MGN_DEVICE, "
         "else auto: an OpenCL GPU where there is one, else cpu)",
         &common->device, 0, 0},
        {"threads", 0, CLI_INT, "N",
         "threads of the cpu backend (default: MGN_THREADS, else every core); results do not "
         "depend on it",
         &threads, 1, 256},
        {"seed", 0, CLI_LONG, "N", "seed of everything random (default 0)", &seed, 0, 9007199254740991.0},
        {"comm-timeout", 0, CLI_REAL, "SECONDS",
         "under mpirun: end where the other processes do not answer for so long, which is to be longer than what one "
         "of "
         "them may have to do alone (default: wait for ever)",
         &timeout, 0.1, 1e6},
        {"json", 0, CLI_FLAG, NULL, "print one JSON object instead of text", &common->json, 0, 0},
        {"quiet", 'q', CLI_FLAG, NULL, "no progress and no notes on standard error", &common->quiet, 0, 0},
        {"help", 'h', CLI_FLAG, NULL, "this text", &common->help, 0, 0},
    };
    option_list list;
    const size_t left_out = cli_may_fall_back(command) ? 0 : 1;
    MGN_TRY(collect(&list, options, count, shared + left_out, MGN_COUNT(shared) - left_out));
    list.own += 1 - left_out; /* the first of the shared ones, as not every command has it */
    MGN_TRY(read_options(command, argc, argv, &list, &common->help));
    if (common->help) {
        const char *form = optind < argc ? argv[optind] : NULL;
        if (cli_is_manual(form))
            cli_print_command(form, command, list.rows, list.own, list.count);
        else
            print_help(command, &list);
        return MGN_OK;
    }
    if (common->fallback) common->fallback->spec = fallback;
    if (common->comm) common->comm->timeout = timeout;
    common->has_seed = seed >= 0;
    common->seed = seed >= 0 ? (uint64_t)seed : 0;
    common->arguments = argv + optind;
    common->argument_count = argc - optind;
    MGN_TRY(check_arguments(command, common));
    if (!threads) MGN_TRY(mgn_environment_threads(&threads));
    mgn_set_threads(threads ? threads : share_of_cores(common->comm));
    mgn_set_quiet(common->quiet || mgn_comm_rank(common->comm) > 0);
    return MGN_OK;
}

mgn_status cli_parse_range(const char *what, const char *text, int64_t most, int64_t *first, int64_t *last) {
    char word[32];
    const char *dots = strstr(text, "..");
    const size_t length = dots ? (size_t)(dots - text) : strlen(text);
    if (length >= sizeof word)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: '%.100s' is neither a number nor a range such as 1..10", what, text);
    memcpy(word, text, length);
    word[length] = 0;
    MGN_TRY(mgn_parse_integer(what, word, 1, most, first));
    *last = *first;
    if (dots) MGN_TRY(mgn_parse_integer(what, dots + 2, 1, most, last));
    if (*last < *first) return mgn_fail(MGN_ERR_ARGUMENT, "%s: the range %.100s ends before it begins", what, text);
    return MGN_OK;
}

/* The commands' options: a thin layer over getopt_long. A command describes its options in one table, and gets from it
 * its --help, strict numbers and one-sentence errors. */
#ifndef MGN_CLI_OPTIONS_H
#define MGN_CLI_OPTIONS_H

#include <mgn/comm.h>

typedef struct cli_command cli_command;
typedef struct cli_fallback cli_fallback;

/* One row of the table of commands in main.c. */
struct cli_command {
    const char *label;    /* "recolor" */
    const char *summary;  /* one line for `mgn --help`, no full stop */
    const char *usage;    /* what follows the name: "CONTENT --like TARGET [options]" */
    const char *details;  /* paragraphs for `mgn COMMAND --help`, separated by empty lines; "" for none */
    const char *examples; /* whole command lines, one per line: "mgn recolor a.jpg --like b.jpg -o c.jpg\n" */
    int min_arguments, max_arguments; /* words that are not options */
    mgn_status (*run)(const cli_command *command, int argc, char **argv);
    const char *words; /* what those words may be, "a|b|c", for completion; NULL: names of files */
    mgn_comm *comm;    /* NULL in the table; the copy that is run has the processes it may share its work with */
    cli_fallback
        *fallback; /* NULL in the table; the copy that is run has it where the cpu can do the work (fallback.h) */
};

typedef enum cli_kind {
    CLI_FLAG,  /* bool *, set to true; takes no value */
    CLI_INT,   /* int *, in low..high */
    CLI_LONG,  /* int64_t *, in low..high (below 2^53) */
    CLI_REAL,  /* double *, finite, in low..high */
    CLI_TEXT,  /* const char **, not empty */
    CLI_LIST,  /* cli_list *: a text each time the option is given */
    CLI_CHOICE /* const char **, one of the words of `value`: "exact|sinkhorn" */
} cli_kind;

/* The texts of an option that may be given several times. */
enum { CLI_LONGEST_LIST = 256 };
typedef struct cli_list {
    const char *items[CLI_LONGEST_LIST];
    size_t count;
} cli_list;

typedef struct cli_option {
    const char *label; /* long form, without the dashes */
    char letter;       /* short form, or 0 */
    cli_kind kind;
    const char *value; /* how the help calls the value: "FILE", "N"; NULL for a flag */
    const char *help;  /* what it does and its default, no full stop */
    void *target;      /* holds the default, gets the value */
    double low, high;  /* both included */
} cli_option;

/* What every command understands. */
typedef struct cli_common {
    mgn_comm *comm;         /* the processes that this one was started with; NULL: it is alone */
    cli_fallback *fallback; /* --fallback and what became of the device; NULL: the command has no such option */
    const char *device;     /* --device, or NULL for MGN_DEVICE, else auto */
    uint64_t seed;          /* --seed, else 0 */
    bool has_seed, json, quiet;
    bool help;        /* the help was printed: the command returns MGN_OK at once */
    char **arguments; /* the words that are not options */
    int argument_count;
} cli_common;

/* Reads the command line into the options' targets and `common`, and applies --threads (or MGN_THREADS) and --quiet.
 * argv[0] is the command's name. Errors: ARGUMENT, in one sentence that names the option. */
mgn_status cli_parse(const cli_command *command, int argc, char **argv, const cli_option *options, size_t count,
                     cli_common *common);

/* "5" (first = last) or "1..10", from 1 to `most`. `what` begins the sentence. ARGUMENT. */
mgn_status cli_parse_range(const char *what, const char *text, int64_t most, int64_t *first, int64_t *last);

#endif

/* The report: experiments run one after another, and their figures beside the published ones on one page that needs
 * nothing but itself (index.html), with the same numbers for programs beside it (results.json).
 *
 *     entries.c   what there is to run: the experiments with their settings, full and quick
 *     run.c       runs them, whatever becomes of each, and writes the page anew after every one
 *     pictures.c  what an experiment has drawn, small enough for a page
 *     figures.c   figures in words: units, which direction is better, verdicts
 *     html.c      escaping, numbers, base64: text that is safe within the page or a shell
 *     page.c      the page; style.c its looks
 *     results.c   JSON */
#ifndef MGN_HOST_REPORT_H
#define MGN_HOST_REPORT_H

#include <stdio.h>

#include <cjson/cJSON.h>

#include <mgn/experiment.h>

#include "core/core.h"

/* ---- what there is to run ---- */

/* What a quick report changes; all zero: nothing. */
typedef struct mgn_report_reduction {
    const char *words; /* what is smaller than in full, a sentence; NULL: nothing */
    const char *recipe, *model;
    int64_t epochs, dimensions[MGN_MOST_DIMENSIONS];
    bool is_small; /* the experiment's own --quick */
} mgn_report_reduction;

/* One section of the page: an experiment with settings. */
typedef struct mgn_report_entry {
    const char *id; /* also its anchor and its folder of pictures: letters, digits and hyphens */
    const char *title, *about;
    const char *experiment; /* mgn_experiment_label */
    const char *field;
    int64_t dimensions[MGN_MOST_DIMENSIONS];
    const char *data;     /* the folder it needs below the root of data; NULL: none */
    const char *needs;    /* what has to be there, in words */
    const char *own;      /* a file that does instead where the folder is absent; NULL: none */
    const char *own_note; /* what is different then */
    const char *headline; /* the figure that the summary shows */
    mgn_report_reduction quick;
    double seconds, quick_seconds; /* about, on two cores: for the time left */
} mgn_report_entry;

/* All of them; `count` gets how many. */
const mgn_report_entry *mgn_report_entries(size_t *count);

/* ---- what became of it ---- */

typedef enum mgn_report_state {
    MGN_REPORT_WAITING, /* not begun; in a finished report: the run was interrupted before it */
    MGN_REPORT_DONE,
    MGN_REPORT_FAILED,
    MGN_REPORT_ABSENT, /* its data are not there */
    MGN_REPORT_INTERRUPTED
} mgn_report_state;

/* A picture as it stands in the page. */
typedef struct mgn_report_picture {
    char *title;
    const char *type; /* "image/png" */
    unsigned char *bytes;
    size_t size, width, height; /* width, height: pixels; 0 where they are not known */
} mgn_report_picture;

typedef struct mgn_report_run {
    const mgn_report_entry *entry;
    mgn_report_state state;
    char *data;     /* the folder; NULL: none */
    char *command;  /* repeats it */
    char *sentence; /* why it failed or was not run; NULL: it went well */
    bool is_own;    /* entry->own stood in for the data */
    double seconds;
    mgn_experiment_report results; /* as far as it came */
    mgn_report_picture *pictures;
    size_t picture_count;
} mgn_report_run;

typedef struct mgn_report_fact {
    const char *label, *value;
} mgn_report_fact;

typedef struct mgn_report mgn_report;

/* After every experiment; return false to stop there, as an interruption does. */
typedef bool mgn_report_callback(void *context, const mgn_report *report);

typedef struct mgn_report_config {
    const char *folder; /* made when it is missing */
    const char *data;   /* root of photos/, mnist/, ..; NULL: none */
    const mgn_report_entry *const *entries;
    size_t count;
    const mgn_report_fact *versions; /* of linked libraries, as the caller knows them */
    size_t version_count;
    const char *command; /* repeats the whole report */
    uint64_t seed;
    bool quick, force; /* force: write into a folder that has other things in it */
    bool plots;        /* figures by gnuplot, where it is installed, of the trials by the best recipe */
    mgn_report_callback *report;
    void *context;
} mgn_report_config;

struct mgn_report {
    const mgn_report_config *config;
    const mgn_device_info *device;
    char machine[160], date[40],
        plots[256]; /* plots: why there are no figures by gnuplot; "": there are, or none asked */
    bool has_plots;
    double seconds;
    mgn_report_run *runs; /* config->count of them */
    size_t finished;      /* of runs, in order */
};

/* Runs all entries and writes FOLDER/index.html and FOLDER/results.json, anew after each, and FOLDER/files/ID/ with
 * what they drew. One failing does not keep the others from running; an interruption ends the run, and the page has what was
 * done by then. The caller destroys `*report`, which is made unless the folder is refused.
 * Errors: ARGUMENT (the folder has other things in it), IO, INTERRUPTED; when experiments failed, the first one's
 * status. */
mgn_status mgn_report_create(mgn_device *device, const mgn_report_config *config, mgn_report **report);
void mgn_report_destroy(mgn_report *report);

/* How many runs are in a state. */
size_t mgn_report_count(const mgn_report *report, mgn_report_state state);

/* "done", "failed", ..: in words. */
const char *mgn_report_state_name(mgn_report_state state);

/* ---- figures ---- */

typedef enum mgn_direction { MGN_NO_DIRECTION, MGN_LOWER, MGN_HIGHER, MGN_NEARER } mgn_direction;

/* MGN_NEARER means to the optimum. */
typedef struct mgn_figure_meaning {
    const char *words, *unit; /* unit "": none */
    mgn_direction direction;
} mgn_figure_meaning;

mgn_figure_meaning mgn_explain_figure(const char *experiment, const mgn_figure *figure);

typedef enum mgn_verdict { MGN_NO_VERDICT, MGN_BETTER, MGN_SAME, MGN_WORSE } mgn_verdict;

/* Ours against the published one; the same when it rounds to the digits that are published. */
mgn_verdict mgn_judge_figure(const mgn_figure_meaning *meaning, const mgn_figure *figure);
const char *mgn_verdict_name(mgn_verdict verdict);

/* The figure for the summary: of the entry's headline the result with the best published one beside it, and of such
 * results our best. `recipe` NULL: of any but the affine one. NULL when there is none. */
const mgn_figure *mgn_report_headline(const mgn_report_run *run, const char *recipe,
                                      const mgn_experiment_result **result);

/* How many figures that have a published one are better, the same or worse, by the best of all recipes for a model. */
void mgn_report_tally(const mgn_report_run *run, size_t verdicts[4]);

/* "C-MGN 2 x 2, Gaussian V" */
void mgn_report_model(const mgn_model_config *model, char *text, size_t capacity);
/* A recipe or a kind of model in words; the word itself where it is neither. */
const char *mgn_report_word(const char *word);

/* ---- writing ---- */

/* One result as JSON: model, recipe, figures, published and optimal ones. NULL when memory runs out. */
cJSON *mgn_experiment_result_json(const mgn_experiment_result *result);
cJSON *mgn_report_json(const mgn_report *report);

/* Adds the pictures of a folder, by name, that begin with `only`; titles leave `prefix` out. Of a figure in two formats
 * the smaller one is taken. Those that cannot be read are left out with a note. */
mgn_status mgn_report_pictures(const char *folder, const char *prefix, const char *only, mgn_report_picture **pictures,
                               size_t *count);

void mgn_html_text(FILE *stream, const char *text);
void mgn_html_number(FILE *stream, double value); /* four digits; nothing for NaN */
void mgn_html_seconds(FILE *stream, double seconds);
void mgn_html_base64(FILE *stream, const unsigned char *bytes, size_t size);

/* " --option value", as a shell takes it; nothing for a value that is NULL. */
void mgn_report_option(FILE *stream, const char *option, const char *value);

void mgn_report_page(const mgn_report *report, FILE *stream);
extern const char mgn_report_style[], mgn_report_layout[];

#endif

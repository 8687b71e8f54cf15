/* The published experiments, each run with the published recipe and with the best one known here, and judged by the same
 * figures. */
#ifndef MGN_EXPERIMENT_H
#define MGN_EXPERIMENT_H

#include <mgn/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One number that an experiment measured, beside what it is compared with. */
typedef struct mgn_figure {
    const char *key; /**< "rmse"; as in JSON */
    double value;
    double published; /**< what the report states; NaN where it states nothing */
    double optimum;   /**< the closed form, or the best known from elsewhere; NaN where there is none */
} mgn_figure;

enum { MGN_MOST_FIGURES = 12, MGN_MOST_RESULTS = 24, MGN_MOST_DIMENSIONS = 5 };

/** One model, trained with one recipe. */
typedef struct mgn_experiment_result {
    const char *task;   /**< which of the experiment's problems: "banana"; NULL where there is only one */
    const char *recipe; /**< "published", "best", ..: as in the configuration */
    mgn_model_config model;
    int64_t parameters, steps; /**< steps: of the optimizer, restarts included */
    double seconds;            /**< wall time of everything from the first start value to the trained model */
    mgn_figure figures[MGN_MOST_FIGURES];
    size_t count;
} mgn_experiment_result;

typedef struct mgn_experiment_report {
    mgn_experiment_result results[MGN_MOST_RESULTS];
    size_t count;
} mgn_experiment_report;

/** How far a training is; `label` says which. Return false to stop (status INTERRUPTED). */
typedef bool mgn_experiment_callback(void *context, const char *label, int64_t done, int64_t total, double loss);

/** Says what becomes of a training called `label` before it begins: checkpoints, curves, patience. What `control` points
 *  to must last until the training ends. Labels are not unique; calls come in the same order in every run. */
typedef mgn_status mgn_experiment_control(void *context, const char *label, mgn_train_control *control);

/** All NULL and zero means the defaults. */
typedef struct mgn_experiment_config {
    const char *model; /**< "cmgn" or "mmgn"; NULL: all of them */
    const char
        *recipe; /**< "published", "best" (mnist, digits) "affine" or (gaussian) "monge-ampere"; NULL: all of them */
    const char *field;                  /**< gradient-field: "report" (NULL), "paper", "gravier" or "polymax" */
    const char *source, *like, *unseen; /**< colour: paths of pictures; NULL: see mgn_experiment_details */
    const char *data; /**< colour: the folder of the published pictures, if it is at hand; w2bench: of the tables */
    int64_t dimensions[MGN_MOST_DIMENSIONS]; /**< gaussian: from 2 to 64; 0 ends the list, an empty one is {2};
                                                  w2bench: folders of `data`; the field "polymax": up to 1024 */
    const char
        *pictures; /**< mnist, digits: a folder for maps and pictures of the results; cifar and those with colours:
                               for pictures; NULL: none */
    /** A folder for figures of every trial, made by gnuplot: learning curves, the map, its errors, colours. NULL: none. The
     *  cost is then measured after every epoch, which the seconds include. */
    const char *plots;
    const char *plots_recipe; /**< figures of trials by this recipe alone; NULL: of all */
    bool quick;               /**< cifar, mnist: fewer pictures and steps, to see that it runs */
    int64_t epochs;           /**< of the published recipe; 0: as published */
    uint64_t seed;
    int64_t blocks; /**< of a batch, as in mgn_train_config, for the trainings that know them; 0: a step is one plan */
    /** Processes that run it together; all give the same configuration, but that rank 0 alone names `pictures`, `plots` and files
     *  of trainings. They share trainings by mgn_train and the rows of maps; the rest each of them does, or rank 0 for all. Of
     *  experiments that mgn_experiment_is_shared knows; with `blocks`. Borrowed; NULL: this one alone. */
    mgn_comm *comm;
    mgn_experiment_control *control;   /**< optional; of trainings by mgn_train. Gets `context` too */
    mgn_experiment_callback *progress; /**< optional */
    void *context;
} mgn_experiment_config;

/** Names of the experiments there are; NULL past the last. */
MGN_API const char *mgn_experiment_label(size_t index);
/** One line on what it is; NULL past the last. */
MGN_API const char *mgn_experiment_summary(size_t index);
/** The recipes in words, with everything that the reports leave open; NULL past the last. */
MGN_API const char *mgn_experiment_details(size_t index);

/** Whether several processes have a use for it. */
MGN_API bool mgn_experiment_is_shared(const char *label);

/** MGN_OK when there is an experiment of that name; ARGUMENT, with the nearest name, when there is none. */
MGN_API mgn_status mgn_experiment_check(const char *label);

/** Runs the experiment `label` on a device. `report` is filled as far as it came. Errors: ARGUMENT (unknown name, or a
 *  configuration that makes no sense), IO and FORMAT (pictures), and those of mgn_train. */
MGN_API mgn_status mgn_experiment_run(const char *label, mgn_device *device, const mgn_experiment_config *config,
                                      mgn_experiment_report *report);

#ifdef __cplusplus
}
#endif
#endif

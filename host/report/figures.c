/* Figures in words, and what to think of them. */
#include <math.h>
#include <string.h>

#include "report/report.h"

/* `experiment` NULL: of all experiments that no row before names. */
static const struct {
    const char *experiment, *key;
    mgn_figure_meaning meaning;
} meanings[] = {
    {"gradient-field", "loss", {"training loss", "", MGN_LOWER}},
    {"colour", "loss", {"KL divergence of the Gaussians", "nats", MGN_LOWER}},
    {"aurora", "loss", {"KL divergence of the Gaussians", "nats", MGN_LOWER}},
    {"colour-gmm", "loss", {"KL divergence to the nearest component", "nats", MGN_LOWER}},
    {NULL, "rmse", {"RMSE", "", MGN_LOWER}},
    {NULL, "mae", {"MAE", "", MGN_LOWER}},
    {NULL, "db", {"squared error", "dB", MGN_LOWER}},
    {NULL, "db_beside_cascade", {"squared error, beside the cascade", "dB", MGN_LOWER}},
    {NULL, "db_linear", {"squared error of a fitted linear map", "dB", MGN_NO_DIRECTION}},
    {NULL, "nll", {"negative log-likelihood", "nats", MGN_LOWER}},
    {NULL, "cost", {"transport cost E|x - g(x)|\u00b2", "", MGN_NEARER}},
    {NULL, "uvp", {"L2-UVP", "%", MGN_LOWER}},
    {NULL, "uvp_beside_w2ot", {"L2-UVP, beside W2OT", "%", MGN_LOWER}},
    {NULL, "uvp_beside_mm", {"L2-UVP, beside W2, MM, MMv2", "%", MGN_LOWER}},
    {NULL, "uvp_affine", {"L2-UVP of the affine map", "%", MGN_NO_DIRECTION}},
    {NULL, "w2_squared", {"W\u2082\u00b2 by the dual", "", MGN_NEARER}},
    {NULL, "w2_before", {"sliced W\u2082\u00b2 before", "", MGN_NO_DIRECTION}},
    {NULL, "w2_after", {"sliced W\u2082\u00b2 after", "", MGN_LOWER}},
    {NULL, "distance", {"Sinkhorn-Wasserstein distance", "", MGN_LOWER}},
    {NULL, "divergence", {"Sinkhorn divergence", "", MGN_LOWER}},
    {NULL, "sinkhorn", {"Sinkhorn divergence", "", MGN_LOWER}},
    {NULL, "frechet", {"Frechet distance\u00b2, 64 axes", "", MGN_LOWER}},
    {NULL, "jacobian_min", {"smallest eigenvalue of the Jacobian", "", MGN_NO_DIRECTION}},
    {NULL, "asymmetry", {"asymmetry of the Jacobian", "", MGN_LOWER}},
    {NULL, "bures", {"least cost for the target's moments", "", MGN_NO_DIRECTION}},
    {NULL, "unseen_cost", {"transport cost, unseen picture", "", MGN_NO_DIRECTION}},
    {NULL, "unseen_loss", {"KL divergence, unseen picture", "nats", MGN_LOWER}},
    {NULL, "unseen_w2", {"sliced W\u2082\u00b2, unseen picture", "", MGN_LOWER}},
    {NULL, "components", {"components", "", MGN_NO_DIRECTION}},
    {NULL, "log_likelihood", {"log-likelihood of the target, a pixel", "nats", MGN_HIGHER}},
    {NULL, "psnr", {"PSNR", "dB", MGN_HIGHER}},
    {NULL, "psnr_affine", {"PSNR of the best affine map", "dB", MGN_NO_DIRECTION}},
    {NULL, "psnr_grey", {"PSNR of the grey picture", "dB", MGN_NO_DIRECTION}},
    {NULL, "mse", {"mean squared error", "", MGN_LOWER}},
    {NULL, "mse_affine", {"MSE, best affine map", "", MGN_NO_DIRECTION}},
    {NULL, "mse_affine_gradient", {"MSE, best affine gradient", "", MGN_NO_DIRECTION}},
    {NULL, "mse_pixel_affine", {"MSE, affine at each pixel", "", MGN_NO_DIRECTION}},
    {NULL, "mse_grey", {"MSE, grey picture", "", MGN_NO_DIRECTION}},
    {NULL, "colour_mse", {"MSE of colour alone", "", MGN_LOWER}},
    {NULL, "colour_mse_affine", {"MSE of colour alone, best affine map", "", MGN_NO_DIRECTION}},
};

mgn_figure_meaning mgn_explain_figure(const char *experiment, const mgn_figure *figure) {
    for (size_t i = 0; i < MGN_COUNT(meanings); i++) {
        if (strcmp(meanings[i].key, figure->key) != 0) continue;
        if (meanings[i].experiment && strcmp(meanings[i].experiment, experiment) != 0) continue;
        mgn_figure_meaning meaning = meanings[i].meaning;
        if (meaning.direction == MGN_NEARER && isnan(figure->optimum)) meaning.direction = MGN_LOWER;
        return meaning;
    }
    return (mgn_figure_meaning){figure->key, "", MGN_NO_DIRECTION};
}

/* How far from the ideal, for comparisons. */
static double badness(const mgn_figure_meaning *meaning, const mgn_figure *figure, double value) {
    if (meaning->direction == MGN_NEARER) return fabs(value - figure->optimum);
    return meaning->direction == MGN_HIGHER ? -value : value;
}

/* The place of the last digit that a published number has: .01 for 5.47. */
static double last_place(double published) {
    double place = 1;
    for (int digits = 0; digits < 12; digits++, place /= 10) {
        const double scaled = published / place;
        if (fabs(scaled - round(scaled)) <= 1e-9 * fmax(fabs(scaled), 1)) break;
    }
    return place;
}

mgn_verdict mgn_judge_figure(const mgn_figure_meaning *meaning, const mgn_figure *figure) {
    if (isnan(figure->published) || meaning->direction == MGN_NO_DIRECTION) return MGN_NO_VERDICT;
    if (!isfinite(figure->value)) return MGN_WORSE;
    if (fabs(figure->value - figure->published) <= 0.5 * last_place(figure->published)) return MGN_SAME;
    return badness(meaning, figure, figure->value) < badness(meaning, figure, figure->published) ? MGN_BETTER
                                                                                                 : MGN_WORSE;
}

const char *mgn_verdict_name(mgn_verdict verdict) {
    static const char *const names[] = {"", "better", "same", "worse"};
    return names[verdict];
}

/* Whether `a` says more than `b`: a published figure beside it; a harder one; the better result. */
static bool leads(const char *experiment, const mgn_figure *a, const mgn_figure *b) {
    const mgn_figure_meaning meaning = mgn_explain_figure(experiment, a);
    const bool is_stated = !isnan(a->published), was_stated = !isnan(b->published);
    if (is_stated != was_stated) return is_stated;
    if (is_stated && a->published != b->published)
        return badness(&meaning, a, a->published) < badness(&meaning, b, b->published);
    return badness(&meaning, a, a->value) < badness(&meaning, b, b->value);
}

const mgn_figure *mgn_report_headline(const mgn_report_run *run, const char *recipe,
                                      const mgn_experiment_result **result) {
    const mgn_figure *best = NULL;
    for (size_t i = 0; i < run->results.count; i++)
        for (size_t k = 0; k < run->results.results[i].count; k++) {
            const mgn_experiment_result *candidate = &run->results.results[i];
            const mgn_figure *figure = &candidate->figures[k];
            const bool is_left_out =
                recipe ? strcmp(candidate->recipe, recipe) != 0 : strcmp(candidate->recipe, "affine") == 0;
            if (strcmp(figure->key, run->entry->headline) != 0 || !isfinite(figure->value) || is_left_out) continue;
            if (best && !leads(run->entry->experiment, figure, best)) continue;
            best = figure;
            *result = candidate;
        }
    return best;
}

/* Whether two results are of one model for one problem, by whatever recipes. */
static bool same_problem(const mgn_experiment_result *a, const mgn_experiment_result *b) {
    return (a->task == b->task || (a->task && b->task && strcmp(a->task, b->task) == 0)) &&
           strcmp(a->model.kind, b->model.kind) == 0 && a->model.d == b->model.d && a->model.h == b->model.h &&
           a->model.layers == b->model.layers && a->model.v == b->model.v;
}

static mgn_verdict verdict_of(const mgn_report_run *run, const mgn_figure *figure) {
    const mgn_figure_meaning meaning = mgn_explain_figure(run->entry->experiment, figure);
    return mgn_judge_figure(&meaning, figure);
}

/* The best verdict on figure `k` of result `i` over all recipes; NONE where an earlier result has stood for it. */
static mgn_verdict best_verdict(const mgn_report_run *run, size_t i, size_t k) {
    const mgn_experiment_result *all = run->results.results;
    const char *key = all[i].figures[k].key;
    mgn_verdict best = verdict_of(run, &all[i].figures[k]);
    for (size_t j = 0; j < run->results.count && best != MGN_NO_VERDICT; j++)
        for (size_t l = 0; j != i && same_problem(&all[i], &all[j]) && l < all[j].count; l++) {
            if (strcmp(all[j].figures[l].key, key) != 0) continue;
            const mgn_verdict other = verdict_of(run, &all[j].figures[l]);
            if (j < i && other != MGN_NO_VERDICT) return MGN_NO_VERDICT;
            if (other != MGN_NO_VERDICT) best = MGN_MIN(best, other);
        }
    return best;
}

void mgn_report_tally(const mgn_report_run *run, size_t verdicts[4]) {
    memset(verdicts, 0, 4 * sizeof *verdicts);
    for (size_t i = 0; i < run->results.count; i++)
        for (size_t k = 0; k < run->results.results[i].count; k++) verdicts[best_verdict(run, i, k)]++;
}

/* ---- models and recipes ---- */

const char *mgn_report_word(const char *word) {
    static const struct {
        const char *word, *words;
    } names[] = {{"cmgn", "C-MGN"},
                 {"mmgn", "M-MGN"},
                 {"conv-cmgn", "convolutional C-MGN"},
                 {"icnn", "ICNN"},
                 {"icgn", "ICGN"},
                 {"cgradnet", "C-GradNet"},
                 {"mgradnet", "M-GradNet"},
                 {"dicnn", "dense ICNN"},
                 {"lse", "log-sum-exp"},
                 {"maxquad", "max of quadratics"},
                 {"published", "published recipe"},
                 {"best", "our best"},
                 {"affine", "affine map"},
                 {"monge-ampere", "both densities known"}};
    for (size_t i = 0; i < MGN_COUNT(names); i++)
        if (strcmp(names[i].word, word) == 0) return names[i].words;
    return word;
}

void mgn_report_model(const mgn_model_config *model, char *text, size_t capacity) {
    snprintf(text, capacity, "%s, %lld \u00d7 %lld%s", mgn_report_word(model->kind), (long long)model->layers,
             (long long)model->h,
             model->v == MGN_V_GAUSSIAN ? ", Gaussian V"
             : model->signed_scales     ? ", either sign"
                                        : "");
}

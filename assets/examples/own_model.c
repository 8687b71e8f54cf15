/* A model and a loss of one's own, as graph nodes, trained by the library's optimizers and plans.
 *
 *     cc own_model.c $(pkg-config --cflags --libs mgn) -lm -o own_model && ./own_model
 *
 * The model is a convex potential, phi(x) = sum_i e^(a_i) softplus(w_i x + b_i) + |x|^2 / 100, and the map is its gradient:
 * only phi is written down, mgn_grad makes the map of it and, once more, the derivatives by the parameters. The loss is
 * pseudo-Huber, which forgives outliers: E sqrt(1 + |r|^2 / s^2) - 1. A graph knows neither device nor precision; both come
 * with mgn_plan_compile. What was learned is kept as safetensors, which Python reads as well, and applied from the file. */
#include <mgn/mgn.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 2048, D = 2, UNITS = 16, BATCH = 128, EPOCHS = 200, PARAMETERS = UNITS * (D + 2) };

static void must(mgn_status status) {
    if (status == MGN_OK) return;
    fprintf(stderr, "own_model: %s\n", mgn_last_error());
    exit(1);
}

/* The forward function: `flat` holds W (UNITS, D), b and a (UNITS each); x (n, D) -> g(x) (n, D). */
static mgn_node *own_map(mgn_node *flat, mgn_node *x) {
    mgn_node *W = mgn_reshape(mgn_slice(flat, 0, 0, UNITS * D), MGN_SHAPE(UNITS, D));
    mgn_node *b = mgn_slice(flat, 0, UNITS * D, UNITS);
    mgn_node *a = mgn_slice(flat, 0, UNITS * (D + 1), UNITS);
    mgn_node *units = mgn_softplus(mgn_add(mgn_matmul_t(x, false, W, true), b)); /* (n, UNITS) */
    mgn_node *phi = mgn_add(mgn_sum(mgn_mul(units, mgn_exp(a)), -1), mgn_scale(mgn_sum(mgn_square(x), -1), .01));
    mgn_node *g = NULL; /* of the sum over all rows: row i of the gradient is that of phi(x_i) */
    (void)mgn_grad(phi, &x, 1, &g);
    return g; /* builders take NULL and give NULL: the first failure is reported when the plan is compiled */
}

/* y and t (n, D) -> a scalar. */
static mgn_node *own_loss(mgn_node *y, mgn_node *t, double s) {
    mgn_node *squares = mgn_sum(mgn_square(mgn_sub(y, t)), 1 << 1); /* over axis 1: (n) */
    return mgn_mean(mgn_shift(mgn_sqrt(mgn_shift(mgn_scale(squares, 1 / (s * s)), 1)), -1), -1);
}

/* The map to be found: the gradient of log cosh x_1 + (x_1 + x_2)^2 / 4. */
static void truth(const float *x, float *y) {
    const float half = (x[0] + x[1]) / 2;
    y[0] = tanhf(x[0]) + half;
    y[1] = half;
}

static void write_input(const mgn_plan *plan, const mgn_node *input, mgn_dtype dtype, const void *values) {
    must(mgn_tensor_write(mgn_plan_tensor(plan, input), dtype, values));
}

/* One optimizer step as a plan; run over and over, it trains. Leaves the parameters in `flat_values`. */
static void train(mgn_device *device, const float *x_rows, const float *y_rows, float *flat_values) {
    mgn_graph *graph;
    must(mgn_graph_create(&graph));
    mgn_node *flat = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(PARAMETERS));
    mgn_node *x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(ROWS, D));
    mgn_node *y = mgn_input(graph, "y", MGN_REAL, MGN_SHAPE(ROWS, D));
    mgn_node *lr = mgn_input(graph, "lr", MGN_REAL, MGN_SCALAR);
    mgn_node *state = mgn_input(graph, "state", MGN_INDEX, MGN_SHAPE(4));

    /* A batch of a shuffle that is new in every epoch. */
    mgn_node *index = mgn_shuffle(state, ROWS, BATCH, ROWS / BATCH, BATCH);
    mgn_node *loss = own_loss(own_map(flat, mgn_gather_rows(x, index)), mgn_gather_rows(y, index), .1);
    mgn_node *gradient = NULL;
    (void)mgn_grad(loss, &flat, 1, &gradient);

    /* The optimizer's state: what it asks for, beginning at zero. It and the parameters are assigned after each run. */
    const mgn_optimizer_config adam = {.kind = "adam", .lr = .02};
    mgn_optimizer_shape needs;
    must(mgn_optimizer_check(&adam, &needs));
    mgn_node *vectors[MGN_MOST_OPTIMIZER_VECTORS];
    for (int i = 0; i < needs.vectors; i++)
        vectors[i] = mgn_input(graph, i == 0 ? "first moment" : "second moment", MGN_REAL, MGN_SHAPE(PARAMETERS));
    mgn_node *scalars = mgn_input(graph, "scalars", MGN_REAL, MGN_SHAPE(needs.scalars));
    mgn_optimizer_update(&adam, flat, gradient, lr, vectors, scalars);
    mgn_assign(state, mgn_advance(state, 1));
    mgn_output(loss);

    mgn_plan *plan;
    must(mgn_plan_compile(graph, device, MGN_F32, NULL, 0, &plan)); /* inputs without a binding: tensors of zeros */
    write_input(plan, flat, MGN_F32, flat_values);
    write_input(plan, x, MGN_F32, x_rows);
    write_input(plan, y, MGN_F32, y_rows);
    write_input(plan, state, MGN_U32, (uint32_t[]){1, 0, 0, 0}); /* seed 1, step 0 */
    const mgn_schedule_config cosine = {.kind = MGN_SCHEDULE_COSINE};
    mgn_schedule_state schedule = {0};
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        const double rate = adam.lr * mgn_schedule_factor(&cosine, &schedule, epoch, EPOCHS, 0);
        write_input(plan, lr, MGN_F64, &rate);
        must(mgn_plan_run(plan, ROWS / BATCH));
    }
    float last;
    must(mgn_tensor_read(mgn_plan_tensor(plan, loss), MGN_F32, &last));
    must(mgn_tensor_read(mgn_plan_tensor(plan, flat), MGN_F32, flat_values));
    printf("loss of the last batch: %.4f\n", last);
    mgn_plan_destroy(plan);
    mgn_graph_destroy(graph);
}

static void save(const char *path, const float *flat_values) {
    mgn_safetensors file = {0};
    must(mgn_safetensors_add(&file, "parameters", MGN_F32, MGN_SHAPE(PARAMETERS), flat_values));
    must(mgn_safetensors_set(&file, "model",
                             "own softplus potential, 16 units, d = 2")); /* of whom are these numbers? */
    must(mgn_safetensors_write(path, &file));
    mgn_safetensors_free(&file);
}

static void load(const char *path, float *flat_values) {
    mgn_safetensors file = {0};
    must(mgn_safetensors_read(path,
                              &file)); /* nothing in a file is believed: it is well formed, and all numbers finite */
    const mgn_stored_tensor *kept = mgn_safetensors_find(&file, "parameters");
    if (!kept || kept->dtype != MGN_F32 || kept->shape.rank != 1 || kept->shape.dim[0] != PARAMETERS) {
        fprintf(stderr, "own_model: %s: expected float parameters of shape (%d)\n", path, PARAMETERS);
        exit(1);
    }
    memcpy(flat_values, kept->data, PARAMETERS * sizeof(float));
    mgn_safetensors_free(&file);
}

/* The same forward function in another graph: the trained map at all rows. */
static void apply(mgn_device *device, const float *flat_values, const float *x_rows, float *y_rows) {
    mgn_graph *graph;
    mgn_plan *plan;
    must(mgn_graph_create(&graph));
    mgn_node *flat = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(PARAMETERS));
    mgn_node *x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(ROWS, D));
    mgn_node *y = own_map(flat, x);
    mgn_output(y);
    must(mgn_plan_compile(graph, device, MGN_F32, NULL, 0, &plan));
    write_input(plan, flat, MGN_F32, flat_values);
    write_input(plan, x, MGN_F32, x_rows);
    must(mgn_plan_run(plan, 1));
    must(mgn_tensor_read(mgn_plan_tensor(plan, y), MGN_F32, y_rows));
    mgn_plan_destroy(plan);
    mgn_graph_destroy(graph);
}

int main(void) {
    static float x[ROWS][D], y[ROWS][D], mapped[ROWS][D], exact[ROWS][D], flat[PARAMETERS];
    mgn_target *normal;
    must(mgn_target_create_gaussian(D, NULL, NULL, &normal));
    must(mgn_target_sample(normal, ROWS, 1, x[0]));
    must(mgn_target_sample(normal, PARAMETERS / D, 2, flat));
    mgn_target_destroy(normal);
    for (int i = UNITS * (D + 1); i < PARAMETERS; i++) flat[i] -= 2; /* small units at first */
    for (int i = 0; i < ROWS; i++) {
        truth(x[i], exact[i]);
        for (int k = 0; k < D; k++) y[i][k] = exact[i][k] + (i % 20 == 0 ? 5 : 0); /* one row in twenty is wrong */
    }

    mgn_device *device;
    must(mgn_device_open(NULL, &device));
    train(device, x[0], y[0], flat);
    save("own_map.safetensors", flat);
    memset(flat, 0, sizeof flat);
    load("own_map.safetensors", flat);
    apply(device, flat, x[0], mapped[0]);
    mgn_device_close(device);

    double rmse;
    must(mgn_rmse(mapped[0], exact[0], ROWS, D, &rmse));
    printf("root mean square distance to the map without the outliers: %.4f\n", rmse);
    return rmse < .02 ? 0 : 1;
}

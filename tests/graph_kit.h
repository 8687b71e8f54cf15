/* What test_graph.c and test_plan.c share: a graph under test, devices, and values in and out of plans. */
#ifndef MGN_TESTS_GRAPH_KIT_H
#define MGN_TESTS_GRAPH_KIT_H

#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/graph.h>

#include "core/core.h"

enum { MOST = 4096 }; /* elements of a tensor here */

static mgn_graph *graph;
static mgn_device *cpu, *opencl;
static const char *opencl_spec; /* NULL: there is none */

static inline void begin(void) { MGN_ASSERT_OK(mgn_graph_create(&graph)); }

static inline void end(void) {
    mgn_graph_destroy(graph);
    graph = NULL;
}

static inline void open_devices(void) {
    MGN_ASSERT_OK(mgn_device_open("cpu", &cpu));
    if (opencl_spec) MGN_ASSERT_OK(mgn_device_open(opencl_spec, &opencl));
}

static inline void close_devices(void) {
    mgn_device_close(opencl);
    mgn_device_close(cpu);
    cpu = opencl = NULL;
}

/* Loop tests run with _i = 0 for the CPU, 1 for OpenCL. */
#define DEVICE_OR_SKIP(device)                          \
    mgn_device *device = _i ? opencl : cpu;             \
    do {                                                \
        if (!device) MGN_TEST_SKIP("no OpenCL device"); \
    } while (0)

static inline mgn_dtype widest(mgn_device *device) { return mgn_device_get_info(device)->has_f64 ? MGN_F64 : MGN_F32; }

static inline mgn_node *real(const char *name, mgn_shape shape) { return mgn_input(graph, name, MGN_REAL, shape); }

static inline mgn_plan *compiled(mgn_device *device, mgn_dtype dtype) {
    mgn_plan *plan = NULL;
    MGN_ASSERT_OK(mgn_plan_compile(graph, device, dtype, NULL, 0, &plan));
    return plan;
}

static inline void put(mgn_plan *plan, const mgn_node *node, const double *values) {
    mgn_tensor *tensor = mgn_plan_tensor(plan, node);
    ck_assert_ptr_nonnull(tensor);
    MGN_ASSERT_OK(mgn_tensor_write(tensor, MGN_F64, values));
}

static inline void put_index(mgn_plan *plan, const mgn_node *node, const uint32_t *values) {
    MGN_ASSERT_OK(mgn_tensor_write(mgn_plan_tensor(plan, node), MGN_U32, values));
}

static inline void get(mgn_plan *plan, const mgn_node *node, double *values) {
    const mgn_tensor *tensor = mgn_plan_tensor(plan, node);
    ck_assert_ptr_nonnull(tensor);
    ck_assert_int_le(mgn_shape_count(mgn_tensor_shape(tensor)), MOST);
    MGN_ASSERT_OK(mgn_tensor_read(tensor, MGN_F64, values));
}

static inline double get_scalar(mgn_plan *plan, const mgn_node *node) {
    double values[MOST];
    get(plan, node, values);
    return values[0];
}

static inline int count_of(const mgn_node *node) { return (int)mgn_shape_count(mgn_node_shape(node)); }

static inline void draw(mgn_test_random *random, double *values, int count, double low, double high) {
    for (int i = 0; i < count; i++) values[i] = mgn_test_uniform(random, low, high);
}

#define ASSERT_CLOSE(found, expected, tolerance)                                                                \
    do {                                                                                                        \
        double mgn_f = (found), mgn_e = (expected);                                                             \
        ck_assert_msg(fabs(mgn_f - mgn_e) <= (tolerance), "%s is %.17g, expected %.17g", #found, mgn_f, mgn_e); \
    } while (0)

/* tanh(x W1 + b1) W2 + b2. */
static inline mgn_node *mlp(mgn_node *x, mgn_node *w1, mgn_node *b1, mgn_node *w2, mgn_node *b2) {
    return mgn_add(mgn_matmul(mgn_tanh(mgn_add(mgn_matmul(x, w1), b1)), w2), b2);
}

/* A test case, the devices opened and closed around each test. */
static inline TCase *case_with_devices(Suite *suite, const char *name) {
    TCase *c = tcase_create(name);
    tcase_add_checked_fixture(c, open_devices, close_devices);
    suite_add_tcase(suite, c);
    return c;
}

#endif

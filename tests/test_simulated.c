/* The OpenCL kernels on Oclgrind, a simulator that watches every access: out of bounds, data races between work-items,
 * reads of what nobody wrote, wrong calls of the API. Small cases of every op, by the checks of `mgn check` between guard
 * values, in the shape for GPUs and in that for CPU devices, in float32: no index depends on the precision. test_rows does
 * the same for fused row programs.
 *
 * The program runs itself under `oclgrind`, which puts its own platform in the place of every other; what the simulator
 * has to say is in a log, which must stay empty. That it would speak up is tested with kernels that do what they must
 * not. Where Oclgrind is not installed the tests are skipped. */
#include "opencl_blocks.h"

#include "check/op_check.h"
#include "simulator.h"

/* What the program does on the simulator: the ops, compiled as ever or without optimising, or a mistake. */
static const char all_ops[] = "ops", plain_ops[] = "ops, plain";

/* Oclgrind's search for uninitialized values does not know clEnqueueFillBuffer, and takes what that wrote for unwritten.
 * This one writes instead; the library's calls come here because it is linked statically. */
cl_int clEnqueueFillBuffer(cl_command_queue queue, cl_mem buffer, const void *pattern, size_t pattern_size,
                           size_t offset, size_t size, cl_uint events, const cl_event *wait, cl_event *event) {
    unsigned char *bytes = malloc(size);
    if (!bytes) return CL_OUT_OF_HOST_MEMORY;
    for (size_t i = 0; i < size; i++) bytes[i] = ((const unsigned char *)pattern)[i % pattern_size];
    const cl_int code = clEnqueueWriteBuffer(queue, buffer, CL_TRUE, offset, size, bytes, events, wait, event);
    free(bytes);
    return code;
}

/* ---- on the simulator ---- */

/* What takes a simulator a second or so: elements of a case's operands, all together. */
enum { MOST_ELEMENTS = 600 };

static int64_t elements_of(const mgn_check_case *c) {
    int64_t sum = mgn_shape_count(c->shape);
    for (int i = 0; i < c->inputs; i++) sum += mgn_shape_count(c->in[i].shape);
    return sum;
}

static void assert_passed(void *context, const mgn_check_result *result) {
    int *results = context;
    ck_assert_msg(result->ok, "%s in %s: error %g, allowed %g: %s", result->op, result->dtype, result->error,
                  result->allowed, result->detail);
    ++*results;
}

/* A device of its own for each run: the search for uninitialized values mistakes buffers for earlier ones of a context. */
START_TEST(op_on_the_simulator) {
    const bool random = _i == MGN_OP_uniform || _i == MGN_OP_normal;
    if (random && strcmp(getenv(MGN_TEST_SIMULATED), plain_ops) == 0)
        return; /* not a program to Oclgrind unless optimised */
    mgn_op_check *check = NULL;
    MGN_ASSERT_OK(mgn_op_check_create((mgn_op)_i, mgn_test_seed(), 0, &check));
    int compared = 0, results = 0;
    for (int i = 0; i < check->list->count; i++) {
        mgn_check_case *c = &check->list->items[i];
        if (elements_of(c) > MOST_ELEMENTS) c->flags &= ~(unsigned)MGN_CASE_BOUNDS;
        if (c->flags & MGN_CASE_BOUNDS) compared = 1;
    }
    for (int shape = 0; shape < 2; shape++) {
        mgn_device *device = open_shape(shape ? "gpu" : "cpu");
        ck_assert_msg(strstr(device->info.platform, "Oclgrind"), "on %s, not on Oclgrind", device->info.platform);
        mgn_check_summary summary = {0};
        mgn_check_sink sink = {
            assert_passed, &results, &summary, mgn_op_infos[_i].label, shape ? "gpu" : "cpu", mgn_dtype_name(MGN_F32)};
        MGN_ASSERT_OK(mgn_bounds_check(check, device, MGN_F32, &sink));
        mgn_opencl_backend.close(device);
    }
    ck_assert_int_eq(results, 2 * compared);
    mgn_op_check_destroy(check);
}
END_TEST

/* Mistakes in kernels, and what Oclgrind says of each. */
static const struct mistake {
    const char *name, *options, *says, *source;
} mistakes[] = {
    {"bounds", "", "Invalid read", "kernel void t(global float *x) { x[0] = x[1000]; }"},
    {"race", "--data-races", "data race",
     "kernel void t(global float *x) { local float s[8]; uint i = get_local_id(0);"
     " s[i] = x[i]; x[i] = s[7 - i]; }"},
    {"unwritten", "--uninitialized", "ninitialized",
     "kernel void t(global float *x) { float s[8]; s[(int)x[1]] = 1; x[0] = s[(int)x[0] + 1]; }"},
    {"call", "--check-api", "CL_INVALID_VALUE", "kernel void t(global float *x) { x[0] = 1; }"},
};

static int make_mistake(const char *name) {
    const struct mistake *m = mistakes;
    while (strcmp(m->name, name) != 0) m++;
    const size_t items = 8;
    const float zeros[8] = {0};
    cl_platform_id platform;
    cl_device_id id;
    if (clGetPlatformIDs(1, &platform, NULL) || clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &id, NULL)) return 1;
    cl_context context = clCreateContext(NULL, 1, &id, NULL, NULL, NULL);
    cl_command_queue queue = clCreateCommandQueue(context, id, 0, NULL);
    cl_mem memory = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof zeros, NULL, NULL);
    const char *source = m->source;
    cl_program program = clCreateProgramWithSource(context, 1, &source, NULL, NULL);
    clEnqueueWriteBuffer(queue, memory, CL_TRUE, 0, sizeof zeros, zeros, 0, NULL, NULL);
    clBuildProgram(program, 1, &id, "", NULL, NULL);
    cl_kernel kernel = clCreateKernel(program, "t", NULL);
    clSetKernelArg(kernel, 0, sizeof memory, &memory);
    clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &items, &items, 0, NULL, NULL);
    if (strcmp(name, "call") == 0) /* behind the buffer */
        clEnqueueWriteBuffer(queue, memory, CL_TRUE, sizeof zeros, sizeof zeros, zeros, 0, NULL, NULL);
    clFinish(queue);
    clReleaseKernel(kernel);
    clReleaseProgram(program);
    clReleaseMemObject(memory);
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
    return 0;
}

/* ---- around it ---- */

START_TEST(the_simulator_finds_mistakes) {
    const struct mistake *m = &mistakes[_i];
    const char *absent = mgn_test_no_simulator();
    if (absent) MGN_TEST_SKIP(absent);
    char *log = mgn_test_simulate(m->name, m->options);
    ck_assert_msg(strstr(log, m->says), "%s: '%s' was expected, Oclgrind said: %.1500s", m->name, m->says, log);
    free(log);
}
END_TEST

/* The search for uninitialized values knows no optimised code (LLVM's freeze). */
START_TEST(kernels_make_none) {
    static const char *const options[] = {"--check-api --data-races",
                                          "--check-api --uninitialized --build-options -cl-opt-disable"};
    const char *absent = mgn_test_no_simulator();
    if (absent) MGN_TEST_SKIP(absent);
    char *log = mgn_test_simulate(_i ? plain_ops : all_ops, options[_i]);
    ck_assert_msg(strlen(log) == 0, "oclgrind %s found: %.1500s", options[_i], log);
    free(log);
}
END_TEST

static Suite *suite(void) {
    Suite *suite = suite_create("simulated");
    TCase *around = tcase_create("oclgrind");
    tcase_set_timeout(around, 300);
    tcase_add_loop_test(around, the_simulator_finds_mistakes, 0, (int)MGN_COUNT(mistakes));
    tcase_add_loop_test(around, kernels_make_none, 0, 2);
    suite_add_tcase(suite, around);
    return suite;
}

static Suite *simulated_suite(void) {
    Suite *suite = suite_create("on the simulator");
    TCase *ops = tcase_create("ops");
    tcase_add_loop_test(ops, op_on_the_simulator, 0, MGN_OP_COUNT);
    suite_add_tcase(suite, ops);
    return suite;
}

int main(void) {
    const char *what = getenv(MGN_TEST_SIMULATED);
    if (!what) return mgn_test_main(suite());
    if (strcmp(what, all_ops) != 0 && strcmp(what, plain_ops) != 0) return make_mistake(what);
    setenv("MGN_CACHE", "off", 1);
    spec = mgn_test_opencl_spec();
    return mgn_test_main(simulated_suite());
}

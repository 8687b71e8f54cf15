/* The OpenCL backend around its kernels: long runs, threads, failures, machines without a driver, and the cache of
 * program binaries. */
#define _GNU_SOURCE
#include "opencl_blocks.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- running ---- */

/* Far more commands than may be in flight; nothing is allocated; the order is kept. */
START_TEST(long_runs) {
    BEGIN_VARIANT;
    const uint32_t words[4] = {1, 2, 3, 4};
    block state = index_block(device, 4, words);
    mgn_call call = {.op = MGN_OP_advance, .inputs = 1, .in = {state.operand}, .out = state.operand};
    call.attributes.advance.steps = 3;
    mgn_program *program = NULL;
    MGN_ASSERT_OK(device->backend->program_create(device, &call, 1, &program));
    const uint64_t before = mgn_allocations();
    const uint32_t times = affordable(1000000) ? 3 * MGN_CL_BATCH + 17 : 17;
    MGN_ASSERT_OK(device->backend->program_run(device, program, times));
    ck_assert_uint_eq(mgn_allocations(), before);
    read_block(&state);
    ck_assert_uint_eq((uint32_t)elements(&state)[2], 3 + 3 * times);
    device->backend->program_destroy(device, program);
    free_block(&state);
}
END_TEST

/* Several handles in several threads, each with programs that use scratch memory. */
static void *sum_in_thread(void *argument) {
    mgn_device *device = argument;
    enum { COUNT = 50000 };
    block in = make_block(device, MGN_F32, (mgn_shape){1, {COUNT}}, COUNT), out = empty_block(device, MGN_F32, 1);
    for (int i = 0; i < COUNT; i++) elements(&in)[i] = i % 5;
    write_block(&in);
    mgn_call call = {.op = MGN_OP_sum, .inputs = 1, .in = {in.operand}, .out = out.operand};
    call.attributes.reduce.outer = call.attributes.reduce.inner = 1;
    call.attributes.reduce.n = COUNT;
    bool right = true;
    for (int i = 0; i < 5; i++) {
        run_call(device, &call);
        read_block(&out);
        right = right && elements(&out)[0] == 2.0 * COUNT;
    }
    free_block(&in);
    free_block(&out);
    return right ? argument : NULL;
}

START_TEST(handles_in_threads) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    pthread_t threads[3];
    mgn_device *devices[3];
    for (int i = 0; i < 3; i++) devices[i] = open_shape(i == 1 ? "gpu" : "cpu");
    for (int i = 0; i < 3; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, sum_in_thread, devices[i]), 0);
    for (int i = 0; i < 3; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        ck_assert_ptr_eq(result, devices[i]);
        mgn_opencl_backend.close(devices[i]);
    }
}
END_TEST

/* ---- failures ---- */

static mgn_status create_sum(mgn_device *device, mgn_dtype dtype) {
    block in = empty_block(device, MGN_F32, 8), out = empty_block(device, MGN_F32, 1);
    mgn_call call = {.op = MGN_OP_sum, .inputs = 1, .in = {in.operand}, .out = out.operand};
    call.in[0].dtype = call.out.dtype = dtype;
    call.attributes.reduce.outer = call.attributes.reduce.inner = 1;
    call.attributes.reduce.n = 4;
    mgn_program *program = NULL;
    const mgn_status status = device->backend->program_create(device, &call, 1, &program);
    device->backend->program_destroy(device, program);
    free_block(&in);
    free_block(&out);
    return status;
}

START_TEST(failures_have_sentences) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    mgn_device_info info = find_info(&mgn_opencl_backend, spec);
    mgn_device *device = NULL;
    setenv("MGN_CL_SHAPE", "round", 1);
    MGN_ASSERT_FAILS(mgn_opencl_backend.open(&info, &device), MGN_ERR_ARGUMENT, "expected cpu or gpu");
    unsetenv("MGN_CL_SHAPE");
    strcpy(info.spec, "opencl:31:0");
    MGN_ASSERT_FAILS(mgn_opencl_backend.open(&info, &device), MGN_ERR_ARGUMENT, "no OpenCL device opencl:31:0");
    ck_assert_ptr_null(device);

    device = open_shape("cpu");
    device->info.has_f64 = false;
    MGN_ASSERT_FAILS(create_sum(device, MGN_F64), MGN_ERR_UNSUPPORTED, "sum in float64");
    char byte = 0;
    block small = empty_block(device, MGN_F32, 1);
    MGN_ASSERT_FAILS(device->backend->memory_read(device, small.operand.memory, small.total * 4, &byte, 1),
                     MGN_ERR_ARGUMENT, "does not fit");
    free_block(&small);
    mgn_memory *memory = NULL;
    ck_assert_int_ne(device->backend->memory_create(device, SIZE_MAX / 2, &memory), MGN_OK);
    ck_assert_ptr_null(memory);

    setenv("MGN_CL_OPTIONS", "-Dfor=no_such_word", 1);
    MGN_ASSERT_FAILS(create_sum(device, MGN_F32), MGN_ERR_DEVICE, "\"reduce\" do not build");
    ck_assert_ptr_nonnull(strstr(mgn_last_error(), "no_such_word"));
    ck_assert_ptr_nonnull(strstr(mgn_last_error(), "CL_BUILD_PROGRAM_FAILURE"));
    unsetenv("MGN_CL_OPTIONS");
    MGN_ASSERT_OK(create_sum(device, MGN_F32));
    mgn_opencl_backend.close(device);
}
END_TEST

/* The loader reads OCL_ICD_VENDORS when it is first used, so this needs a process of its own: see main. */
START_TEST(machines_without_drivers) {
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    ck_assert_int_gt((int)length, 0);
    self[length] = 0;
    const char *folder = mgn_test_path("no-vendors");
    mkdir(folder, 0700);
    mgn_test_process process = mgn_test_shell("OCL_ICD_VENDORS='%s/' '%s' --count-devices", folder, self);
    ck_assert_int_eq(process.code, 0);
    ck_assert_str_eq(process.out, "status 0, 0 devices\n");
    ck_assert_str_eq(process.err, "");
    mgn_test_process_free(&process);
}
END_TEST

/* ---- the cache of binaries ---- */

/* The path of the only file in the cache, "" when there is none. */
static void find_cached(const char *folder, char *path, size_t size) {
    char inner[4096];
    snprintf(inner, sizeof inner, "%s/mgn", folder);
    DIR *listing = opendir(inner);
    int count = 0;
    path[0] = 0;
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        if (entry->d_name[0] == '.' && (entry->d_name[1] == 0 || entry->d_name[1] == '.')) continue;
        snprintf(path, size, "%s/%s", inner, entry->d_name);
        count++;
    }
    if (listing) closedir(listing);
    ck_assert_int_le(count, 1);
}

static void sum_with_fresh_handle(void) {
    mgn_device *device = open_shape("cpu");
    ck_assert_ptr_eq(sum_in_thread(device), device);
    mgn_opencl_backend.close(device);
}

/* Damages the file at `path`: 0 truncated, 1 a bit of the binary, 2 a bit of the key, 3 longer, 4 of another version,
 * 5 empty, 6 a huge length, 7 others may have written it, 8 a link to such a file. */
enum { DAMAGES = 9 };
static void damage(const char *path, int how) {
    size_t count = 0;
    char *bytes = mgn_test_read_file(path, &count);
    char *longer = calloc(count + 1, 1);
    memcpy(longer, bytes, count);
    if (how == 1) longer[count - 9] ^= 4;
    if (how == 2) longer[40] ^= 1;
    if (how == 4) longer[6] = '0';
    if (how == 6) memset(longer + 16, 0x7f, 8);
    mgn_test_write_file(path, longer, how == 0 ? count / 2 : how == 3 ? count + 1 : how == 5 ? 0 : count);
    if (how == 7) ck_assert_int_eq(chmod(path, 0620), 0);
    if (how == 8) {
        const char *moved = mgn_test_path("moved");
        ck_assert_int_eq(rename(path, moved), 0);
        ck_assert_int_eq(symlink(moved, path), 0);
    }
    free(bytes);
    free(longer);
}

START_TEST(binaries_are_cached) {
    if (!spec) MGN_TEST_SKIP("no OpenCL device");
    char *old = getenv("XDG_CACHE_HOME") ? strdup(getenv("XDG_CACHE_HOME")) : NULL, path[8192];
    const char *folder = mgn_test_path("cache");
    setenv("XDG_CACHE_HOME", folder, 1);
    setenv("MGN_CACHE", "off", 1);
    sum_with_fresh_handle();
    find_cached(folder, path, sizeof path);
    ck_assert_str_eq(path, "");
    setenv("MGN_CACHE", "all", 1); /* PoCL's as well, which keeps programs itself */
    sum_with_fresh_handle();
    find_cached(folder, path, sizeof path);
    ck_assert_str_ne(path, "");
    struct stat first, now;
    stat(path, &first);
    sum_with_fresh_handle();
    stat(path, &now);
    ck_assert_msg(now.st_ino == first.st_ino, "a binary that was there was written again");
    size_t good_size = 0;
    char *good = mgn_test_read_file(path, &good_size);
    for (int how = 0; how < DAMAGES; how++) {
        damage(path, how);
        sum_with_fresh_handle();
        find_cached(folder, path, sizeof path);
        size_t size = 0;
        char *again = mgn_test_read_file(path, &size);
        ck_assert_msg(size > 64 && memcmp(again, good, 16) == 0 && memcmp(again + 32, good + 32, 32) == 0,
                      "damage %d was not repaired", how);
        free(again);
    }
    free(good);
    unsetenv("MGN_CACHE");
    if (old) setenv("XDG_CACHE_HOME", old, 1);
    if (!old) unsetenv("XDG_CACHE_HOME");
    free(old);
}
END_TEST

START_TEST(cache_files_are_checked) {
    char *old = getenv("XDG_CACHE_HOME") ? strdup(getenv("XDG_CACHE_HOME")) : NULL, path[8192];
    const char *folder = mgn_test_path("deep/er/cache-files"), *key = "driver 1\nsource";
    const unsigned char binary[] = "binary of forty bytes, without meaning.";
    size_t bytes = 0;
    setenv("XDG_CACHE_HOME", folder, 1);
    ck_assert_ptr_null(mgn_cl_cache_load(key, &bytes));
    mgn_cl_cache_store(key, binary, sizeof binary);
    find_cached(folder, path, sizeof path);
    for (int how = -1; how < DAMAGES; how++) {
        mgn_cl_cache_store(key, binary, sizeof binary);
        if (how >= 0) damage(path, how);
        unsigned char *loaded = mgn_cl_cache_load(key, &bytes);
        if (how >= 0) ck_assert_msg(!loaded, "damage %d was not noticed", how);
        if (how < 0) ck_assert(loaded && bytes == sizeof binary && memcmp(loaded, binary, bytes) == 0);
        mgn_free(loaded);
    }
    mgn_cl_cache_store(key, binary, sizeof binary);
    ck_assert_ptr_null(mgn_cl_cache_load("driver 2\nsource", &bytes));
    /* A folder that cannot be made: only time is lost. */
    setenv("XDG_CACHE_HOME", "/proc/none", 1);
    mgn_cl_cache_store(key, binary, sizeof binary);
    ck_assert_ptr_null(mgn_cl_cache_load(key, &bytes));
    if (old) setenv("XDG_CACHE_HOME", old, 1);
    if (!old) unsetenv("XDG_CACHE_HOME");
    free(old);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("opencl_driver");
    TCase *running = tcase_create("running"), *rest = tcase_create("rest");
    tcase_set_timeout(running, 600);
    tcase_set_timeout(rest, 600);
    tcase_add_unchecked_fixture(running, open_all, close_all);
    tcase_add_loop_test(running, long_runs, 0, 2);
    tcase_add_test(rest, handles_in_threads);
    tcase_add_test(rest, failures_have_sentences);
    tcase_add_test(rest, machines_without_drivers);
    tcase_add_test(rest, binaries_are_cached);
    tcase_add_test(rest, cache_files_are_checked);
    suite_add_tcase(s, running);
    suite_add_tcase(s, rest);
    return s;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--count-devices") == 0) {
        size_t count = 0;
        const mgn_status status = mgn_opencl_backend.list(NULL, 0, &count);
        printf("status %d, %zu devices\n", (int)status, count);
        return 0;
    }
    spec = mgn_test_opencl_spec();
    return mgn_test_main(suite());
}

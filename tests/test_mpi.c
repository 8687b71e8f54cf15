/* The command under mpirun, as a user starts it: the same map from 1 (alone), 2 and 4 processes, one voice, and one end when one of them
 * fails or dies. What the processes do with one another is test_ranks.c's; here are MPI and the command. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/image.h>
#include <mgn/model.h>

#include "core/core.h"
#include "launcher.h"

enum { ROWS = 500, MOST_PARAMETERS = 64 };

static char folder[512];

static const char launcher[] = MGN_TEST_LAUNCHER;

static void save(const char *name, const float *values, int64_t rows) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    MGN_ASSERT_OK(mgn_npy_write(path, &(mgn_matrix){rows, 2, (float *)values}));
}

static void make_files(void) {
    static float x[2 * ROWS];
    mgn_test_random random = mgn_test_random_named("rows");
    snprintf(folder, sizeof folder, "%s", mgn_test_path("files"));
    mgn_test_process made = mgn_test_shell("rm -rf %s && mkdir %s", folder, folder);
    ck_assert_int_eq(made.code, 0);
    mgn_test_process_free(&made);
    for (int i = 0; i < 2 * ROWS; i++) x[i] = (float)mgn_test_normal(&random);
    save("x.npy", x, ROWS);
    x[7] += 1;
    save("other.npy", x, ROWS);
    char path[600];
    snprintf(path, sizeof path, "%s/cut.npy", folder);
    mgn_test_write_file(path, "\x93NUMPY\x01\x00", 8);
}

/* "-n 1 A : -n 1 B", to which the options of all are added. */
static mgn_test_process launch(const char *parts) {
    return mgn_test_shell("cd %s && timeout -s KILL 200 env %s %s", folder, launcher, parts);
}

#define FIT "\"$MGN_BINARY\" fit -t normal:2 --device cpu --threads 1 "

static void read_map(const char *name, double values[MOST_PARAMETERS]) {
    mgn_model *model = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    MGN_ASSERT_OK(mgn_model_load(path, &model));
    const size_t count = (size_t)mgn_model_parameter_count(model);
    ck_assert_uint_le(count, MOST_PARAMETERS);
    memset(values, 0, MOST_PARAMETERS * sizeof *values);
    memcpy(values, mgn_model_values(model), count * sizeof *values);
    mgn_model_destroy(model);
}

static int count(const char *text, const char *words) {
    int found = 0;
    for (const char *at = text; (at = strstr(at, words)); at++) found++;
    return found;
}

START_TEST(any_number_makes_the_same_map) {
    double one[MOST_PARAMETERS], other[MOST_PARAMETERS];
    make_files();
    mgn_test_process alone =
        mgn_test_shell("cd %s && " FIT "-s x.npy -o one.safetensors --epochs 3 --blocks 16", folder);
    ck_assert_msg(alone.code == 0, "%s", alone.err);
    mgn_test_process_free(&alone);
    read_map("one.safetensors", one);
    for (int size = 2; size <= 4; size *= 2) {
        char parts[300];
        snprintf(parts, sizeof parts, "-n %d " FIT "-s x.npy -o map.safetensors --epochs 3 --log curve.csv", size);
        mgn_test_process p = launch(parts);
        ck_assert_msg(p.code == 0, "%d processes: %s", size, p.err);
        ck_assert_msg(count(p.out, "rows held out") == 1 && count(p.err, "mgn: loss nll") == 1, "%d processes: %s%s",
                      size, p.out, p.err);
        mgn_test_process_free(&p);
        read_map("map.safetensors", other);
        ck_assert_msg(memcmp(one, other, sizeof one) == 0, "%d processes made another map", size);
    }
    mgn_test_process lines = mgn_test_shell("wc -l < %s/curve.csv", folder);
    ck_assert_int_eq(atoi(lines.out), 4);
    mgn_test_process_free(&lines);
}
END_TEST

/* Of what a command prints and writes, whoever shares its work. */
START_TEST(any_number_finds_the_same) {
    static const struct {
        const char *command, *writes;
    } rows[] = {{"sinkhorn x.npy other.npy -g", "gradient.npy"}, {"gmm x.npy -k 1..2 --json -o", "mixture.json"}};
    make_files();
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        char last[1200] = "";
        for (int size = 1; size <= 4; size *= 2) {
            char parts[300];
            snprintf(parts, sizeof parts,
                     "-n %d \"$MGN_BINARY\" %s %s --device cpu --threads 1 | grep -v seconds && md5sum < %s", size,
                     rows[i].command, rows[i].writes, rows[i].writes);
            mgn_test_process p = launch(parts);
            ck_assert_msg(p.code == 0, "%s, %d processes: %s", rows[i].command, size, p.err);
            ck_assert_msg(size == 1 || strcmp(p.out, last) == 0, "%s: %d processes found %s, fewer %s", rows[i].command,
                          size, p.out, last);
            ck_assert_uint_lt(strlen(p.out), sizeof last);
            snprintf(last, sizeof last, "%s", p.out);
            mgn_test_process_free(&p);
        }
    }
}
END_TEST

/* Figures without seconds, and files, of each command by 1 process and by 2; the last is the work of one. */
START_TEST(evaluation_is_that_of_one_process) {
    static const char *const commands[] = {
        "eval map --data normal:2 --points 9000 --cycle --potential phi.npy --like normal:2",
        "sample map 9000 -o made.npy --inverse --density",
        "apply map big.npy -o mapped.npy",
        "w2 x.npy other.npy --sliced 8",
    };
    make_files();
    mgn_test_process made =
        mgn_test_shell("cd %s && " FIT "-s x.npy -o map --epochs 1 -q && \"$MGN_BINARY\" sample map "
                       "140000 -o big.npy -q && mkdir one",
                       folder);
    ck_assert_msg(made.code == 0, "%s", made.err);
    mgn_test_process_free(&made);
    for (size_t i = 0; i < MGN_COUNT(commands); i++) {
        mgn_test_process p = mgn_test_shell(
            "cd %s && mgn() { \"$MGN_BINARY\" \"$@\" --device cpu --threads 1 --json; } && rm -f one/* phi.npy "
            "made.npy mapped.npy && mgn %s > "
            "one.json && "
            "for f in phi made mapped; do test ! -e $f.npy || mv $f.npy one; done && "
            "timeout -s KILL 200 env %s -n 2 \"$MGN_BINARY\" %s --device cpu --threads 1 --json > two.json && "
            "grep -v seconds one.json > a && grep -v seconds two.json > b && cmp a b && "
            "for f in one/*.npy; do test ! -e $f || cmp $f ${f#one/}; done",
            folder, commands[i], launcher, commands[i]);
        ck_assert_msg(p.code == 0 && !*p.out, "%s: exit code %d: %s%s", commands[i], p.code, p.out, p.err);
        ck_assert_int_eq(count(p.err, "the work of one process"), i == MGN_COUNT(commands) - 1);
        mgn_test_process_free(&p);
    }
}
END_TEST

START_TEST(failures_have_one_sentence) {
    static const struct {
        const char *parts, *words;
        int code;
    } rows[] = {
        {"-n 1 " FIT "-s x.npy -o m : -n 1 " FIT "-s cut.npy -o m", "mgn: rank 1 of 2: cut.npy", 1},
        {"-n 1 " FIT "-s x.npy -o m : -n 1 " FIT "-s other.npy -o m", "mgn: rank 1 of 2: the rows or the options", 2},
        {"-n 2 " FIT "-s x.npy -o m : -n 1 \"$MGN_BINARY\" fit -t normal:2 --device opencl:99:0 -s x.npy -o m",
         "mgn: rank 2 of 3: ", 0},
        {"-n 2 " FIT "-s x.npy -o m --restarts 2", "mgn: --restarts: several", 2},
        {"-n 2 \"$MGN_BINARY\" eval none --data x.npy", "mgn: none does not exist", 1},
        {"-n 1 \"$MGN_BINARY\" w2 x.npy x.npy --bures : -n 1 \"$MGN_BINARY\" tune --show",
         "mgn: rank 1 of 2: the commands are not those of rank 0", 2},
    };
    make_files();
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_test_process p = launch(rows[i].parts);
        ck_assert_msg(p.code != 0 && (!rows[i].code || p.code == rows[i].code), "%s: exit code %d: %s", rows[i].parts,
                      p.code, p.err);
        ck_assert_msg(count(p.err, rows[i].words) == 1 && count(p.err, "mgn: ") <= 2, "%s: %s", rows[i].parts, p.err);
        ck_assert_msg(!count(p.out, "heldout"), "%s: %s", rows[i].parts, p.out);
        mgn_test_process_free(&p);
        mgn_test_process left = mgn_test_shell("ls %s", folder);
        ck_assert_str_eq(left.out, "cut.npy\nother.npy\nx.npy\n");
        mgn_test_process_free(&left);
    }
}
END_TEST

/* Trainings of first and second order, of moments, and the rows of maps. */
START_TEST(experiments_are_those_of_one_process) {
    static const char *const commands[] = {"gradient-field -m mmgn -r published --epochs 1",
                                           "gaussian -m mmgn -r monge-ampere",
                                           "colour -m mmgn -r published --epochs 2 --source a.png --like b.png"};
    make_files();
    for (int i = 0; i < 2; i++) {
        char path[600];
        mgn_image *image = NULL;
        mgn_test_random random = mgn_test_random_named(i ? "pixels of b" : "pixels of a");
        MGN_ASSERT_OK(mgn_image_create(40, 30, 3, 8, &image));
        for (int k = 0; k < 3600; k++)
            ((uint8_t *)image->pixels)[k] = (uint8_t)mgn_test_uniform(&random, 0, 150 + 90 * i);
        snprintf(path, sizeof path, "%s/%c.png", folder, 'a' + i);
        MGN_ASSERT_OK(mgn_image_write(image, path, NULL));
        mgn_image_destroy(image);
    }
    for (size_t i = 0; i < MGN_COUNT(commands); i++) {
        mgn_test_process p = mgn_test_shell(
            "cd %s && \"$MGN_BINARY\" experiment %s --blocks 16 --device cpu --threads 1 --json -q > one.json && "
            "timeout -s KILL 200 env %s -n 2 \"$MGN_BINARY\" experiment %s --device cpu --threads 1 --json -q > "
            "two.json && "
            "grep -v seconds one.json > a && grep -v seconds two.json > b && cmp a b",
            folder, commands[i], launcher, commands[i]);
        ck_assert_msg(p.code == 0 && !*p.out, "%s: exit code %d: %s%s", commands[i], p.code, p.out, p.err);
        mgn_test_process_free(&p);
    }
}
END_TEST

static void assert_state_is_whole(void) {
    char path[600];
    snprintf(path, sizeof path, "%s/state", folder);
    mgn_safetensors state = {0};
    MGN_ASSERT_OK(mgn_safetensors_read(path, &state));
    ck_assert_ptr_nonnull(mgn_safetensors_find(&state, "parameters"));
    mgn_safetensors_free(&state);
}

static void assert_in_folder(const char *condition) {
    mgn_test_process p = mgn_test_shell("cd %s && %s", folder, condition);
    ck_assert_msg(p.code == 0, "not so afterwards: %s", condition);
    mgn_test_process_free(&p);
}

/* A training that would not end by itself; once there is a checkpoint rank 1 gets a signal. */
static mgn_test_process train_until(const char *signal_name) {
    return mgn_test_shell(
        "cd %s || exit 8; (timeout 200 env %s -n 1 " FIT "-s x.npy -o m --epochs 100000000 --checkpoint state "
        "--checkpoint-every 1 : -n 1 sh -c 'echo $$ > pid; exec " FIT "-s x.npy -o m --epochs 100000000 --checkpoint "
        "none --checkpoint-every 1') & while [ ! -s state ]; do kill -0 $! || exit 9; sleep .02; done; "
        "kill -s %s $(cat pid); wait $!",
        folder, launcher, signal_name);
}

START_TEST(a_death_ends_all) {
    make_files();
    mgn_test_process p = train_until("KILL");
    ck_assert_msg(p.code != 0 && p.code != 9 && p.code != 124, "exit code %d: %s", p.code, p.err);
    mgn_test_process_free(&p);
    assert_state_is_whole();
    assert_in_folder("test ! -e m && test ! -e none");
}
END_TEST

/* What one of them is told all do: the map is written, once, and the state. */
START_TEST(an_interrupt_of_one_stops_all) {
    make_files();
    mgn_test_process p = train_until("INT");
    ck_assert_msg(p.code == 1 && count(p.err, "mgn: stopped after") == 1 && count(p.out, "loss") >= 1,
                  "exit code %d: %s%s", p.code, p.out, p.err);
    mgn_test_process_free(&p);
    assert_state_is_whole();
    assert_in_folder("test -s m && test ! -e none");
}
END_TEST

/* A driver that fails on demand (faulty_cl.c); NULL: there is none, or no device for it. */
static const char *faulty_driver(void) {
    mgn_test_process devices = mgn_test_shell("\"$MGN_BINARY\" devices | grep -q opencl");
    const bool has_device = devices.code == 0;
    mgn_test_process_free(&devices);
    return has_device ? getenv("MGN_FAULTY_CL") : NULL;
}

/* Rank 1's device is lost after some epochs. */
START_TEST(a_lost_device_ends_all) {
    const char *driver = faulty_driver();
    if (!driver) MGN_TEST_SKIP("no OpenCL device, or MGN_FAULTY_CL does not name the driver that fails");
    make_files();
    mgn_test_process p = mgn_test_shell(
        "cd %s && mkdir vendors && echo '%s' > vendors/faulty.icd && timeout -s KILL 200 env %s -n 1 " FIT
        "-s x.npy -o m --epochs 100000000 --checkpoint state --checkpoint-every 1 : -n 1 env "
        "OCL_ICD_VENDORS=$PWD/vendors/ "
        "FAULTY_CL_FAIL=2000+:-2 \"$MGN_BINARY\" fit -t normal:2 --device opencl --threads 1 -s x.npy -o m --epochs "
        "100000000 --checkpoint none --checkpoint-every 1",
        folder, driver, launcher);
    ck_assert_msg(p.code != 0 && p.code != 137 && count(p.err, "mgn: rank 1 of 2: ") == 1, "exit code %d: %s", p.code,
                  p.err);
    mgn_test_process_free(&p);
    assert_state_is_whole();
}
END_TEST

/* Two devices, which PoCL makes of one CPU: two processes take one each, three share them. The map is that of one process. */
START_TEST(each_takes_a_device) {
    static const char *const notes[] = {"the 2 processes compute on opencl:0:0, opencl:0:1,",
                                        "the 3 processes compute on opencl:0:0, opencl:0:1, opencl:0:0,"};
    mgn_test_process devices =
        mgn_test_shell("POCL_DEVICES='pthread pthread' \"$MGN_BINARY\" devices | grep -c '^opencl:0:.* PoCL '");
    const int found = atoi(devices.out);
    mgn_test_process_free(&devices);
    if (found != 2) MGN_TEST_SKIP("no PoCL that makes two devices of one");
    make_files();
    for (int size = 1; size <= 3; size++) {
        mgn_test_process p = mgn_test_shell(
            "cd %s && POCL_DEVICES='pthread pthread' timeout -s KILL 200 env %s -n %d \"$MGN_BINARY\" fit -t normal:2 "
            "--device opencl --threads 1 -s x.npy -o %d.map --epochs 2 --batch 64 && cmp 1.map %d.map",
            folder, launcher, size, size, size);
        ck_assert_msg(p.code == 0, "%d processes: %s%s", size, p.out, p.err);
        if (size > 1) ck_assert_msg(count(p.err, notes[size - 2]) == 1, "%d processes: %s", size, p.err);
        mgn_test_process_free(&p);
    }
}
END_TEST

/* Rank 1's device is lost, and all do the work again on the cpu. */
START_TEST(a_lost_device_is_done_without) {
    const char *driver = faulty_driver();
    if (!driver) MGN_TEST_SKIP("no OpenCL device, or MGN_FAULTY_CL does not name the driver that fails");
    make_files();
    mgn_test_process p = mgn_test_shell(
        "cd %s && mkdir -p vendors && echo '%s' > vendors/faulty.icd && s='sinkhorn --threads 1 x.npy banana -n 60 -g' "
        "&& "
        "\"$MGN_BINARY\" $s alone.npy --blocks 16 --device cpu && timeout -s KILL 200 env %s -n 1 \"$MGN_BINARY\" $s "
        "m.npy "
        "--device opencl --fallback cpu : -n 1 env OCL_ICD_VENDORS=$PWD/vendors/ FAULTY_CL_FAIL=1@clBuildProgram "
        "MGN_CACHE=off \"$MGN_BINARY\" $s none.npy --device opencl --fallback cpu && cmp m.npy alone.npy && test ! -e "
        "none.npy",
        folder, driver, launcher);
    ck_assert_msg(p.code == 0 && count(p.err, "mgn: rank 1 of 2: the OpenCL kernels \"") == 1 &&
                      count(p.err, "; the cpu starts again from the beginning\n") == 1,
                  "exit code %d: %s", p.code, p.err);
    mgn_test_process_free(&p);
}
END_TEST

int main(void) {
    const char *why = mgn_test_no_launcher();
    if (why) return mgn_test_skip_program(why);
    Suite *suite = suite_create("mpi");
    TCase *all = tcase_create("all");
    tcase_add_test(all, any_number_makes_the_same_map);
    tcase_add_test(all, any_number_finds_the_same);
    tcase_add_test(all, evaluation_is_that_of_one_process);
    tcase_add_test(all, failures_have_one_sentence);
    tcase_add_test(all, experiments_are_those_of_one_process);
    tcase_add_test(all, a_death_ends_all);
    tcase_add_test(all, an_interrupt_of_one_stops_all);
    tcase_add_test(all, a_lost_device_ends_all);
    tcase_add_test(all, each_takes_a_device);
    tcase_add_test(all, a_lost_device_is_done_without);
    tcase_set_timeout(all, 250);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}

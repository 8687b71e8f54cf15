/* Model files: the same float32 bits back, and one sentence for every way in which a file can be damaged or lie. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mgn/data.h>
#include <mgn/model.h>

#include "core/core.h"

static const mgn_model_config configs[] = {
    {.kind = "cmgn", .d = 3, .h = 4, .layers = 2},
    {.kind = "cmgn", .d = 1, .h = 1, .layers = 1, .activation = MGN_SOFTPLUS, .v = MGN_V_GAUSSIAN},
    {.kind = "mmgn", .d = 3, .h = 2, .layers = 2, .activation = MGN_TANH},
    {.kind = "cmgn", .d = 5, .h = 2, .layers = 12, .activation = MGN_TANH},
    {.kind = "mmgn", .d = 2, .h = 3, .layers = 11, .v = MGN_V_GAUSSIAN},
    {.kind = "icnn", .d = 2, .h = 3, .layers = 4, .activation = MGN_SOFTPLUS},
    {.kind = "icgn", .d = 2, .h = 3, .layers = 4, .activation = MGN_TANH},
    {.kind = "cgradnet", .d = 2, .h = 3, .layers = 12, .signed_scales = true, .lipschitz = 0.1},
    {.kind = "mgradnet", .d = 2, .h = 3, .layers = 1, .lipschitz = 1e-30},
    {.kind = "conv-cmgn", .d = 24, .h = 2, .layers = 3, .image = {4, 2, 3}, .kernel = 3, .padding = 1},
    {.kind = "conv-cmgn",
     .d = 20,
     .h = 2,
     .layers = 1,
     .image = {4, 5, 1},
     .kernel = 3,
     .stride = 2,
     .position_biases = true},
};

static void save(size_t index, const char *path) {
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&configs[index], 3, &model));
    MGN_ASSERT_OK(mgn_model_save(model, path));
    mgn_model_destroy(model);
}

START_TEST(round_trip_keeps_every_bit) {
    const char *path = mgn_test_path("a.safetensors"), *again = mgn_test_path("b.safetensors");
    mgn_model *model = NULL, *loaded = NULL;
    MGN_ASSERT_OK(mgn_model_create(&configs[_i], 3, &model));
    MGN_ASSERT_OK(mgn_model_save(model, path));
    MGN_ASSERT_OK(mgn_model_load(path, &loaded));
    const mgn_model_config *a = mgn_model_get_config(model), *b = mgn_model_get_config(loaded);
    ck_assert_str_eq(a->kind, b->kind);
    ck_assert(a->d == b->d && a->h == b->h && a->layers == b->layers && a->activation == b->activation && a->v == b->v);
    ck_assert(a->signed_scales == b->signed_scales && a->lipschitz == b->lipschitz);
    ck_assert(memcmp(&a->image, &b->image, sizeof a->image) == 0 && a->kernel == b->kernel && a->padding == b->padding);
    ck_assert(MGN_MAX(a->stride, a->kernel > 0) == b->stride && a->position_biases == b->position_biases);
    ck_assert_int_eq(mgn_model_parameter_count(model), mgn_model_parameter_count(loaded));
    for (int64_t i = 0; i < mgn_model_parameter_count(model); i++)
        ck_assert_double_eq(mgn_model_values(loaded)[i], (double)(float)mgn_model_values(model)[i]);
    MGN_ASSERT_OK(mgn_model_save(loaded, again));
    size_t first_size, second_size;
    char *first = mgn_test_read_file(path, &first_size), *second = mgn_test_read_file(again, &second_size);
    ck_assert_uint_eq(first_size, second_size);
    ck_assert(memcmp(first, second, first_size) == 0);
    free(first);
    free(second);
    mgn_model_destroy(model);
    mgn_model_destroy(loaded);
}
END_TEST

START_TEST(what_is_not_finite_is_not_saved) {
    const char *path = mgn_test_path("nan.safetensors");
    mgn_model *model = NULL;
    MGN_ASSERT_OK(mgn_model_create(&configs[0], 3, &model));
    mgn_model_values(model)[1] = 1e300; /* finite, but not as a float */
    MGN_ASSERT_FAILS(mgn_model_save(model, path), MGN_ERR_NUMERIC, "W");
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_null(file);
    mgn_model_destroy(model);
}
END_TEST

/* ---- files that lie: a valid file of configs[0] with one thing changed ---- */

typedef void change(mgn_safetensors *file);

static mgn_stored_tensor *tensor(mgn_safetensors *file, const char *label) {
    for (size_t i = 0; i < file->tensor_count; i++)
        if (strcmp(file->tensors[i].name, label) == 0) return &file->tensors[i];
    ck_abort_msg("no tensor %s", label);
}

static void missing_tensor(mgn_safetensors *file) { tensor(file, "b1")->name[0] = 'c'; }
static void transposed(mgn_safetensors *file) { tensor(file, "W")->shape = MGN_SHAPE(3, 4); }
static void flattened(mgn_safetensors *file) { tensor(file, "V")->shape = MGN_SHAPE(9); }
static void boxed(mgn_safetensors *file) { tensor(file, "W")->shape = MGN_SHAPE(4, 3, 1); }
static void integers(mgn_safetensors *file) { tensor(file, "W")->dtype = MGN_U32; }
static void extra_tensor(mgn_safetensors *file) {
    MGN_ASSERT_OK(mgn_safetensors_add(file, "extra", MGN_F32, MGN_SHAPE(2), (float[]){1, 2}));
}
static void swapped(mgn_safetensors *file) { /* the right names and shapes, in another order: fine, found by name */
    const mgn_stored_tensor first = file->tensors[0];
    file->tensors[0] = file->tensors[1];
    file->tensors[1] = first;
}

static const struct lie {
    const char *key, *value; /* metadata to set, or */
    change *apply;
    mgn_status status;
    const char *sentence;
} lies[] = {
    {"format", "mgn-map-2", NULL, MGN_ERR_FORMAT, "format 'mgn-map-1' was expected, 'mgn-map-2' found"},
    {"format", "", NULL, MGN_ERR_FORMAT, "'mgn-map-1' was expected"},
    {"model", "resnet", NULL, MGN_ERR_FORMAT, "the model is one of cmgn, mmgn,"},
    {"model", "icnn", NULL, MGN_ERR_FORMAT, "icnn: the activation logistic does not keep"},
    {"scales", "signed", NULL, MGN_ERR_FORMAT, "cmgn has no scales"},
    {"scales", "any", NULL, MGN_ERR_FORMAT, "'scales' should be non-negative or signed, 'any' found"},
    {"scales", "non-negative", NULL, MGN_OK, ""},
    {"lipschitz", "2.5", NULL, MGN_OK, ""},
    {"lipschitz", "0", NULL, MGN_ERR_FORMAT, "'lipschitz' should be a positive number, '0' found"},
    {"lipschitz", "1e999", NULL, MGN_ERR_FORMAT, "'1e999' found"},
    {"lipschitz", "nan", NULL, MGN_ERR_FORMAT, "'nan' found"},
    {"lipschitz", "2x", NULL, MGN_ERR_FORMAT, "'2x' found"},
    {"temperature", "1", NULL, MGN_ERR_FORMAT,
     "its metadata has 'temperature', which this version of mgn does not know"},
    {"image", "3x1", NULL, MGN_ERR_FORMAT, "metadata has no 'kernel'"},
    {"image", "3by1", NULL, MGN_ERR_FORMAT, "'3by1' found"},
    {"model", "conv-cmgn", NULL, MGN_ERR_FORMAT, "0 x 0 x 0 and d=3 found"},
    {"model", "mmgn", NULL, MGN_ERR_FORMAT, "6 tensors were expected for this architecture, 5 found"},
    {"activation", "relu", NULL, MGN_ERR_FORMAT, "unknown activation 'relu'"},
    {"v_start", "identity", NULL, MGN_ERR_FORMAT, "'identity' found"},
    {"d", "2", NULL, MGN_ERR_FORMAT, "does not have the shape that the metadata (d=2, h=4) asks for"},
    {"h", "3", NULL, MGN_ERR_FORMAT, "does not have the shape that the metadata (d=3, h=3) asks for"},
    {"d", "0", NULL, MGN_ERR_FORMAT, "'d' should be a positive integer, '0' found"},
    {"d", "-3", NULL, MGN_ERR_FORMAT, "'-3' found"},
    {"h", "4x", NULL, MGN_ERR_FORMAT, "'4x' found"},
    {"h", "", NULL, MGN_ERR_FORMAT, "'h' should be a positive integer"},
    {"layers", "1e2", NULL, MGN_ERR_FORMAT, "'1e2' found"},
    {"d", "16384", NULL, MGN_ERR_FORMAT, "does not have the shape that the metadata (d=16384, h=4) asks for"},
    {"d", "1000000000000", NULL, MGN_ERR_FORMAT, "d=1000000000000"},
    {"h", "99999999999999999999999999", NULL, MGN_ERR_FORMAT, "h=9223372036854775807"},
    {"layers", "3", NULL, MGN_ERR_FORMAT, "6 tensors were expected for this architecture, 5 found"},
    {"layers", "256", NULL, MGN_ERR_FORMAT, "259 tensors were expected"},
    {"layers", "1000000000", NULL, MGN_ERR_FORMAT, "1 to 256 layers"},
    {NULL, NULL, missing_tensor, MGN_ERR_FORMAT, "the tensor 'b1' is missing"},
    {NULL, NULL, transposed, MGN_ERR_FORMAT, "the tensor 'W' does not have the shape"},
    {NULL, NULL, flattened, MGN_ERR_FORMAT, "the tensor 'V' does not have the shape"},
    {NULL, NULL, boxed, MGN_ERR_FORMAT, "the tensor 'W' does not have the shape"},
    {NULL, NULL, integers, MGN_ERR_FORMAT, "the tensor 'W'"},
    {NULL, NULL, extra_tensor, MGN_ERR_FORMAT, "5 tensors were expected for this architecture, 6 found"},
    {NULL, NULL, swapped, MGN_OK, ""},
};

static void check_refused(const char *path, mgn_status expected, const char *words, const char *what) {
    mgn_model *model = NULL;
    const mgn_status status = mgn_model_load(path, &model);
    ck_assert_msg(status == expected, "%s: status %d: %s", what, (int)status, mgn_last_error());
    if (status != MGN_OK) {
        ck_assert_msg(strstr(mgn_last_error(), words), "%s: '%s' is not in: %s", what, words, mgn_last_error());
        ck_assert_msg(strstr(mgn_last_error(), path), "%s: the file is not named: %s", what, mgn_last_error());
        ck_assert_ptr_null(model);
    }
    mgn_model_destroy(model);
}

START_TEST(lying_files_are_refused) {
    const struct lie *lie = &lies[_i];
    const char *path = mgn_test_path("lie.safetensors");
    mgn_safetensors file = {0};
    save(0, path);
    MGN_ASSERT_OK(mgn_safetensors_read(path, &file));
    if (lie->key)
        MGN_ASSERT_OK(mgn_safetensors_set(&file, lie->key, lie->value));
    else
        lie->apply(&file);
    MGN_ASSERT_OK(mgn_safetensors_write(path, &file));
    mgn_safetensors_free(&file);
    check_refused(path, lie->status, lie->sentence, lie->key ? lie->key : lie->sentence);
}
END_TEST

START_TEST(missing_metadata_is_named) {
    static const char *const keys[] = {"format", "model", "d", "h", "layers", "activation", "v_start"};
    const char *path = mgn_test_path("missing.safetensors");
    for (size_t i = 0; i < MGN_COUNT(keys); i++) {
        char word[40];
        mgn_safetensors file = {0};
        save(0, path);
        MGN_ASSERT_OK(mgn_safetensors_read(path, &file));
        for (size_t k = 0; k < file.metadata_count; k++)
            if (strcmp(file.metadata[k].key, keys[i]) == 0) file.metadata[k].key[0] = '_';
        MGN_ASSERT_OK(mgn_safetensors_write(path, &file));
        mgn_safetensors_free(&file);
        snprintf(word, sizeof word, "its metadata has no '%s'", keys[i]);
        check_refused(path, MGN_ERR_FORMAT, word, keys[i]);
    }
}
END_TEST

/* ---- files that are damaged: bytes of a valid one changed ---- */

START_TEST(weights_that_are_not_finite_are_refused) {
    static const unsigned char bits[][4] = {{0, 0, 0xc0, 0x7f}, {0, 0, 0x80, 0x7f}, {0, 0, 0x80, 0xff}};
    const char *path = mgn_test_path("weights.safetensors");
    for (size_t i = 0; i < MGN_COUNT(bits); i++) {
        size_t size;
        save(0, path);
        char *bytes = mgn_test_read_file(path, &size);
        memcpy(bytes + size - 4, bits[i], 4); /* the last of bL */
        mgn_test_write_file(path, bytes, size);
        free(bytes);
        check_refused(path, MGN_ERR_NUMERIC, "bL", "weights");
    }
}
END_TEST

START_TEST(truncated_files_are_refused) {
    const char *path = mgn_test_path("short.safetensors");
    size_t size;
    save(0, path);
    char *bytes = mgn_test_read_file(path, &size);
    for (size_t length = 0; length < size; length += length < 64 ? 1 : 7) {
        mgn_model *model = NULL;
        mgn_test_write_file(path, bytes, length);
        const mgn_status status = mgn_model_load(path, &model);
        ck_assert_msg(status == MGN_ERR_FORMAT || status == MGN_ERR_IO || status == MGN_ERR_UNSUPPORTED,
                      "%zu bytes: status %d: %s", length, (int)status, mgn_last_error());
        ck_assert_ptr_null(model);
    }
    free(bytes);
    MGN_ASSERT_FAILS(mgn_model_load(mgn_test_path("none.safetensors"), &(mgn_model *){NULL}), MGN_ERR_IO,
                     "does not exist");
}
END_TEST

/* Random damage gives a model with finite weights or a sentence, never anything else. */
START_TEST(random_damage_does_no_harm) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const char *path = mgn_test_path("random.safetensors");
    size_t size;
    save(0, path);
    char *bytes = mgn_test_read_file(path, &size);
    for (int round = 0; round < 600; round++) {
        char *damaged = malloc(size);
        ck_assert(damaged);
        memcpy(damaged, bytes, size);
        for (int64_t k = mgn_test_integer(&random, 1, 3); k > 0; k--)
            damaged[mgn_test_integer(&random, 0, (int64_t)size - 1)] = (char)mgn_test_integer(&random, 0, 255);
        mgn_test_write_file(path, damaged, size);
        free(damaged);
        mgn_model *model = NULL;
        const mgn_status status = mgn_model_load(path, &model);
        ck_assert((status == MGN_OK) == (model != NULL));
        for (int64_t i = 0; model && i < mgn_model_parameter_count(model); i++)
            ck_assert(mgn_model_values(model)[i] - mgn_model_values(model)[i] == 0);
        mgn_model_destroy(model);
    }
    free(bytes);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("model_file");
    TCase *files = tcase_create("files");
    tcase_add_loop_test(files, round_trip_keeps_every_bit, 0, (int)MGN_COUNT(configs));
    tcase_add_test(files, what_is_not_finite_is_not_saved);
    tcase_add_loop_test(files, lying_files_are_refused, 0, (int)MGN_COUNT(lies));
    tcase_add_test(files, missing_metadata_is_named);
    tcase_add_test(files, weights_that_are_not_finite_are_refused);
    tcase_add_test(files, truncated_files_are_refused);
    tcase_add_test(files, random_damage_does_no_harm);
    suite_add_tcase(suite, files);
    return mgn_test_main(suite);
}

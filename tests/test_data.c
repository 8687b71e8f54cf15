/* Files of samples and tensors: what is written comes back bit by bit, what Python and spreadsheets write is read, and
 * what is damaged is refused with a sentence: every truncation, thousands of seeded bit flips, and headers that lie. */
#include "harness.h"

#include <float.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <mgn/data.h>

#include "data/data.h"

/* A copy of exactly `size` bytes on the heap, so that a sanitizer sees any read beyond its end. */
static unsigned char *exact_copy(const void *bytes, size_t size) {
    unsigned char *copy = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, size);
    return copy;
}

static mgn_status parse_npy(const void *bytes, size_t size, mgn_matrix *matrix) {
    unsigned char *copy = exact_copy(bytes, size);
    const mgn_status status = mgn_npy_parse(copy, size, "test.npy", matrix);
    free(copy);
    return status;
}

static mgn_status parse_csv(const char *text, mgn_matrix *matrix) {
    unsigned char *copy = exact_copy(text, strlen(text));
    const mgn_status status = mgn_csv_parse(copy, strlen(text), "test.csv", matrix);
    free(copy);
    return status;
}

static void assert_matrix(const mgn_matrix *matrix, int64_t rows, int64_t columns, const float *values) {
    ck_assert_int_eq(matrix->rows, rows);
    ck_assert_int_eq(matrix->columns, columns);
    for (int64_t i = 0; i < rows * columns; i++)
        ck_assert_msg(matrix->values[i] == values[i], "value %" PRId64 " is %.9g where %.9g was expected", i,
                      (double)matrix->values[i], (double)values[i]);
}

static void assert_finite(const mgn_matrix *matrix) {
    ck_assert_int_gt(matrix->rows, 0);
    ck_assert_int_gt(matrix->columns, 0);
    for (int64_t i = 0; i < matrix->rows * matrix->columns; i++) ck_assert(isfinite(matrix->values[i]));
}

static mgn_matrix random_matrix(mgn_test_random *random, int64_t rows, int64_t columns) {
    mgn_matrix matrix;
    MGN_ASSERT_OK(mgn_matrix_create(rows, columns, &matrix));
    for (int64_t i = 0; i < rows * columns; i++)
        matrix.values[i] = (float)(mgn_test_normal(random) * pow(10, mgn_test_uniform(random, -30, 30)));
    matrix.values[0] = -0.0f;
    matrix.values[rows * columns - 1] = FLT_MAX;
    return matrix;
}

/* ---- .npy ---- */

/* An .npy file with this dictionary, and `data` behind it. */
static size_t make_npy(unsigned char *file, int version, const char *dictionary, const void *data, size_t bytes) {
    const size_t length = strlen(dictionary), prefix = version == 1 ? 10 : 12;
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (unsigned char)version;
    file[7] = 0;
    memset(file + 8, 0, 4);
    file[8] = (unsigned char)(length & 255);
    file[9] = (unsigned char)(length >> 8);
    memcpy(file + prefix, dictionary, length);
    if (bytes) memcpy(file + prefix + length, data, bytes);
    return prefix + length + bytes;
}

static mgn_status parse_made(int version, const char *dictionary, const void *data, size_t bytes, mgn_matrix *matrix) {
    unsigned char file[2048];
    return parse_npy(file, make_npy(file, version, dictionary, data, bytes), matrix);
}

START_TEST(matrix_sizes_are_checked) {
    mgn_matrix matrix;
    MGN_ASSERT_FAILS(mgn_matrix_create(0, 1, &matrix), MGN_ERR_ARGUMENT, "0 x 1");
    MGN_ASSERT_FAILS(mgn_matrix_create(INT64_MAX, 3, &matrix), MGN_ERR_ARGUMENT, "addressable");
    MGN_ASSERT_FAILS(mgn_matrix_create(1, 1, NULL), MGN_ERR_ARGUMENT, "NULL");
    mgn_matrix_free(NULL);
    matrix = (mgn_matrix){0};
    mgn_matrix_free(&matrix);
}
END_TEST

START_TEST(npy_round_trip_is_exact) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const int64_t sizes[][2] = {{1, 1}, {7, 1}, {1, 93}, {501, 3}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        mgn_matrix written = random_matrix(&random, sizes[k][0], sizes[k][1]), read;
        const char *path = mgn_test_path("round.npy");
        MGN_ASSERT_OK(mgn_npy_write(path, &written));
        MGN_ASSERT_OK(mgn_npy_read(path, &read));
        assert_matrix(&read, written.rows, written.columns, written.values);
        ck_assert(signbit(read.values[0]) || sizes[k][0] * sizes[k][1] == 1);
        mgn_matrix_free(&read);
        MGN_ASSERT_OK(mgn_table_read(path, &read));
        mgn_matrix_free(&read);
        mgn_matrix_free(&written);
    }
}
END_TEST

START_TEST(npy_types_orders_and_versions) {
    mgn_matrix m;
    const float two_by_three[] = {1, 2, 3, 4, 5, 6}, by_columns[] = {1, 3, 5, 2, 4, 6};
    MGN_ASSERT_OK(
        parse_made(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", two_by_three, 24, &m));
    assert_matrix(&m, 2, 3, two_by_three);
    mgn_matrix_free(&m);
    MGN_ASSERT_OK(parse_made(2, "{\"shape\":(2,3),'fortran_order':True,'descr':'=f4'}", two_by_three, 24, &m));
    assert_matrix(&m, 2, 3, by_columns);
    mgn_matrix_free(&m);
    const double doubles[] = {-1.5, 0.25};
    MGN_ASSERT_OK(parse_made(3, "{'descr': '<f8', 'fortran_order': True, 'shape': (2L,), }\n", doubles, 16, &m));
    assert_matrix(&m, 2, 1, (const float[]){-1.5f, 0.25f});
    mgn_matrix_free(&m);
    MGN_ASSERT_OK(
        parse_made(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }\n", "\x3f\x80\x00\x00", 4, &m));
    assert_matrix(&m, 1, 1, (const float[]){1});
    mgn_matrix_free(&m);
    const struct {
        const char *type;
        size_t item;
        float expected;
    } types[] = {{"|b1", 1, 254}, {"|u1", 1, 254}, {"|i1", 1, -2},  {"<u2", 2, 254},  {"<i2", 2, 254},  {"<u4", 4, 254},
                 {"<i4", 4, 254}, {"<u8", 8, 254}, {"<i8", 8, 254}, {">i2", 2, -512}, {">u2", 2, 65024}};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        char dictionary[100];
        snprintf(dictionary, sizeof dictionary, "{'descr': '%s', 'fortran_order': False, 'shape': (1, 1), }\n",
                 types[k].type);
        MGN_ASSERT_OK(parse_made(1, dictionary, "\xfe\0\0\0\0\0\0", types[k].item, &m));
        assert_matrix(&m, 1, 1, &types[k].expected);
        mgn_matrix_free(&m);
    }
}
END_TEST

START_TEST(npy_refuses_what_it_cannot_hold) {
    mgn_matrix m;
    const float bad[] = {1, 2, 3, NAN, 5, INFINITY};
    const double huge[] = {1, -1e39};
    const float some[12] = {0};
#define NPY(type, shape) "{'descr': '" type "', 'fortran_order': False, 'shape': " shape ", }\n"
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(2, 3)"), bad, 24, &m), MGN_ERR_NUMERIC, "row 1, column 0");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(1, 2)"), bad + 4, 8, &m), MGN_ERR_NUMERIC, "row 0, column 1");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f8", "(2,)"), huge, 16, &m), MGN_ERR_NUMERIC, "row 1, column 0");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<c8", "(1,)"), some, 8, &m), MGN_ERR_UNSUPPORTED, "<c8");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f2", "(1,)"), some, 2, &m), MGN_ERR_UNSUPPORTED, "<f2");
    MGN_ASSERT_FAILS(parse_made(1, NPY("", "(1,)"), some, 2, &m), MGN_ERR_UNSUPPORTED, "''");
    MGN_ASSERT_FAILS(parse_made(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", some, 4, &m),
                     MGN_ERR_UNSUPPORTED, "named fields");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "()"), some, 4, &m), MGN_ERR_UNSUPPORTED, "0 axes");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(1, 2, 3)"), some, 24, &m), MGN_ERR_UNSUPPORTED, "3 axes");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(0, 3)"), some, 0, &m), MGN_ERR_FORMAT, "empty");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(2, 3)"), some, 23, &m), MGN_ERR_FORMAT, "23 bytes of data follow");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(2, 3)"), some, 28, &m), MGN_ERR_FORMAT, "28 bytes of data follow");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(4611686018427387905, 4)"), some, 16, &m), MGN_ERR_FORMAT, "announced");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(3037000500, 3037000500)"), some, 16, &m), MGN_ERR_FORMAT, "announced");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(99999999999999999999, 1)"), some, 16, &m), MGN_ERR_FORMAT,
                     "below 2^63");
    MGN_ASSERT_FAILS(parse_made(1, NPY("<f4", "(-1, 1)"), some, 16, &m), MGN_ERR_FORMAT, "a dimension");
    MGN_ASSERT_FAILS(parse_made(4, NPY("<f4", "(1, 1)"), some, 4, &m), MGN_ERR_UNSUPPORTED, "version 4");
    MGN_ASSERT_FAILS(parse_made(1, "{'descr': '<f4', 'shape': (1,), }", some, 4, &m), MGN_ERR_FORMAT, "before the end");
    MGN_ASSERT_FAILS(
        parse_made(1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", some, 4, &m),
        MGN_ERR_FORMAT, "once");
    MGN_ASSERT_FAILS(parse_npy("1,2\n3,4\n", 8, &m), MGN_ERR_FORMAT, "not an .npy file");
#undef NPY
}
END_TEST

START_TEST(npy_survives_truncation_and_bit_flips) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_matrix written, m;
    MGN_ASSERT_OK(mgn_matrix_create(4, 3, &written));
    for (int i = 0; i < 12; i++) written.values[i] = (float)i;
    const char *path = mgn_test_path("damaged.npy");
    MGN_ASSERT_OK(mgn_npy_write(path, &written));
    mgn_matrix_free(&written);
    size_t size;
    char *file = mgn_test_read_file(path, &size);
    for (size_t length = 0; length < size; length++) ck_assert_int_ne(parse_npy(file, length, &m), MGN_OK);
    for (int k = 0; k < 20000; k++) {
        char *copy = (char *)exact_copy(file, size);
        for (int64_t flips = mgn_test_integer(&random, 1, 3); flips > 0; flips--)
            copy[mgn_test_integer(&random, 0, (int64_t)size - 1)] ^= (char)(1 << mgn_test_integer(&random, 0, 7));
        if (parse_npy(copy, size, &m) == MGN_OK) {
            assert_finite(&m);
            mgn_matrix_free(&m);
        }
        free(copy);
    }
    free(file);
}
END_TEST

/* ---- .csv ---- */

START_TEST(csv_dialects) {
    const struct {
        const char *text;
        int64_t rows, columns;
    } same[] = {
        {"1,2\n3,4\n", 2, 2},
        {"1;2\r\n3;4", 2, 2},
        {"1\t2\r3\t4\r", 2, 2},
        {"  1   2 \n\t3 \t4\n", 2, 2},
        {"a,b\n1,2\n\n3,4\n\n", 2, 2},
        {"\xef\xbb\xbf\"first; column\",\"second \"\"column\"\"\"\n1,2\n3,4\n", 2, 2},
        {"# a comment, with commas\n1 , 2\n # another\n3 , 4", 2, 2},
        {"\"0\",\"1\"\n\"1\",2\n3,\"4\"\n", 2, 2},
        {"\"two\nlines\"\tb\n1\t2\n3\t4", 2, 2},
        {"x\n1\n2\n3\n4\n", 4, 1},
        {"1e0,+2.,.3e1,0x4\n", 1, 4},
    };
    for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
        mgn_matrix m;
        MGN_ASSERT_OK(parse_csv(same[k].text, &m));
        assert_matrix(&m, same[k].rows, same[k].columns, (const float[]){1, 2, 3, 4});
        mgn_matrix_free(&m);
    }
}
END_TEST

START_TEST(csv_names_the_place_of_what_it_refuses) {
    mgn_matrix m;
    MGN_ASSERT_FAILS(parse_csv("a,b\n1,2\n3,x\n", &m), MGN_ERR_FORMAT, "line 3, column 2");
    MGN_ASSERT_FAILS(parse_csv("1,2\n3\n", &m), MGN_ERR_FORMAT, "line 2: 2 fields");
    MGN_ASSERT_FAILS(parse_csv("1,2\n3,4,5\n", &m), MGN_ERR_FORMAT, "not 3");
    MGN_ASSERT_FAILS(parse_csv("1,2\n3,\n", &m), MGN_ERR_FORMAT, "line 2, column 2");
    MGN_ASSERT_FAILS(parse_csv("1,setosa\n", &m), MGN_ERR_FORMAT, "\"setosa\"");
    MGN_ASSERT_FAILS(parse_csv("a;b\n1,5;2,5\n", &m), MGN_ERR_FORMAT, "decimal point");
    MGN_ASSERT_FAILS(parse_csv("1,2\n3,nan\n", &m), MGN_ERR_NUMERIC, "line 2, column 2");
    MGN_ASSERT_FAILS(parse_csv("1,2\n3,1e39\n", &m), MGN_ERR_NUMERIC, "line 2, column 2");
    MGN_ASSERT_FAILS(parse_csv("1,2\n-inf,1\n", &m), MGN_ERR_NUMERIC, "line 2, column 1");
    MGN_ASSERT_FAILS(parse_csv("1,2\n\"3,4\n", &m), MGN_ERR_FORMAT, "line 2 is never closed");
    MGN_ASSERT_FAILS(parse_csv("1,2\n\"3\"4,5\n", &m), MGN_ERR_FORMAT, "closing quote");
    MGN_ASSERT_FAILS(parse_csv("a,b\n", &m), MGN_ERR_FORMAT, "none");
    MGN_ASSERT_FAILS(parse_csv("", &m), MGN_ERR_FORMAT, "none");
    MGN_ASSERT_FAILS(mgn_csv_parse("1\0,2\n", 5, "nul.csv", &m), MGN_ERR_FORMAT, "\"1?\"");
    char text[400];
    memset(text, '1', sizeof text - 1);
    text[sizeof text - 1] = 0;
    MGN_ASSERT_FAILS(parse_csv(text, &m), MGN_ERR_FORMAT, "none"); /* too long for a number, so it must be a header */
}
END_TEST

START_TEST(csv_round_trip_is_exact_in_any_locale) {
    mgn_test_random random = MGN_TEST_RANDOM();
    /* Where no locale with a decimal comma is installed this is the plain round trip. */
    if (!setlocale(LC_ALL, "de_DE.UTF-8")) setlocale(LC_ALL, "fr_FR.UTF-8");
    mgn_matrix written = random_matrix(&random, 93, 7), read;
    const char *path = mgn_test_path("round.csv");
    const char *names[] = {"a", "b, \"quoted\"", "c", "", "e", "f", "1"};
    for (int with_names = 0; with_names < 2; with_names++) {
        MGN_ASSERT_OK(mgn_csv_write(path, &written, with_names ? names : NULL));
        MGN_ASSERT_OK(mgn_table_read(path, &read));
        assert_matrix(&read, 93, 7, written.values);
        mgn_matrix_free(&read);
    }
    setlocale(LC_ALL, "C");
    mgn_matrix_free(&written);
}
END_TEST

START_TEST(csv_survives_truncation_and_bit_flips) {
    mgn_test_random random = MGN_TEST_RANDOM();
    const char text[] = "\"a\";b;# c\r\n1.5;-2;3e4\r\n\r\n# note\n4;\"5\";6\n";
    mgn_matrix m;
    for (int k = 0; k < 20000; k++) {
        char copy[sizeof text];
        memcpy(copy, text, sizeof text);
        const size_t length = k < (int)sizeof text ? (size_t)k : sizeof text - 1;
        for (int64_t flips = k < (int)sizeof text ? 0 : mgn_test_integer(&random, 1, 4); flips > 0; flips--)
            copy[mgn_test_integer(&random, 0, (int64_t)length - 1)] ^= (char)(1 << mgn_test_integer(&random, 0, 7));
        unsigned char *exact = exact_copy(copy, length);
        if (mgn_csv_parse(exact, length, "flipped.csv", &m) == MGN_OK) {
            assert_finite(&m);
            mgn_matrix_free(&m);
        }
        free(exact);
    }
}
END_TEST

START_TEST(tables_are_written_by_their_ending) {
    mgn_matrix written, read;
    MGN_ASSERT_OK(mgn_matrix_create(1, 2, &written));
    MGN_ASSERT_OK(mgn_table_write(mgn_test_path("t.CSV"), &written));
    MGN_ASSERT_OK(mgn_csv_read(mgn_test_path("t.CSV"), &read));
    mgn_matrix_free(&read);
    MGN_ASSERT_OK(mgn_table_write(mgn_test_path("t.npy"), &written));
    MGN_ASSERT_OK(mgn_npy_read(mgn_test_path("t.npy"), &read));
    mgn_matrix_free(&read);
    MGN_ASSERT_FAILS(mgn_table_write(mgn_test_path("t.txt"), &written), MGN_ERR_ARGUMENT, "ending");
    MGN_ASSERT_FAILS(mgn_table_read(mgn_test_path("none.npy"), &read), MGN_ERR_IO, "none.npy");
    MGN_ASSERT_FAILS(mgn_npy_write(mgn_test_path("no/such/t.npy"), &written), MGN_ERR_IO, "t.npy");
    MGN_ASSERT_FAILS(mgn_npy_write("t.npy", &(mgn_matrix){0}), MGN_ERR_ARGUMENT, "not empty");
    MGN_ASSERT_FAILS(mgn_csv_write(NULL, &written, NULL), MGN_ERR_ARGUMENT, "path");
    mgn_matrix_free(&written);
}
END_TEST

/* ---- safetensors ---- */

/* The 8-byte length, the header, and `bytes` bytes of data (zeros where `data` is NULL). */
static size_t make_safetensors(unsigned char *file, const char *header, const void *data, size_t bytes) {
    const size_t length = strlen(header);
    for (size_t i = 0; i < 8; i++) file[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(file + 8, header, length);
    if (data)
        memcpy(file + 8 + length, data, bytes);
    else
        memset(file + 8 + length, 0, bytes);
    return 8 + length + bytes;
}

static mgn_status parse_safetensors(const void *bytes, size_t size, mgn_safetensors *file) {
    unsigned char *copy = exact_copy(bytes, size);
    const mgn_status status = mgn_safetensors_parse(copy, size, "test.safetensors", file);
    free(copy);
    return status;
}

static mgn_status parse_header(const char *header, const void *data, size_t bytes) {
    static unsigned char file[1 << 16];
    mgn_safetensors read = {0};
    const mgn_status status = parse_safetensors(file, make_safetensors(file, header, data, bytes), &read);
    mgn_safetensors_free(&read);
    return status;
}

#define SHAPE1(n) ((mgn_shape){1, {n}})

/* Every type, ranks 0 to 4, an empty tensor, a name and texts beyond ASCII. */
static mgn_safetensors make_example(void) {
    mgn_safetensors file = {0};
    const float floats[] = {1, -2, 0.5f, FLT_MIN, FLT_MAX, -0.0f};
    const double doubles[] = {1e300, -1e-300};
    const uint32_t words[] = {0, UINT32_MAX, 7};
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "scalar", MGN_F32, (mgn_shape){0}, floats));
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "layer.0.weight \"\xc3\xa9\"", MGN_F32, (mgn_shape){2, {2, 3}}, floats));
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "double", MGN_F64, SHAPE1(2), doubles));
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "state", MGN_U32, SHAPE1(3), words));
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "empty", MGN_F64, (mgn_shape){2, {0, 5}}, NULL));
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "four", MGN_F32, (mgn_shape){4, {1, 3, 1, 2}}, floats));
    MGN_ASSERT_OK(mgn_safetensors_set(&file, "architecture", "{\"kind\": \"cmgn\"}"));
    MGN_ASSERT_OK(mgn_safetensors_set(&file, "note", "first"));
    MGN_ASSERT_OK(mgn_safetensors_set(&file, "note", "line\nbreak, \xe2\x88\x87\xcf\x86"));
    return file;
}

START_TEST(safetensors_round_trip_is_exact) {
    mgn_safetensors written = make_example(), read = {0};
    const char *path = mgn_test_path("round.safetensors");
    MGN_ASSERT_OK(mgn_safetensors_write(path, &written));
    MGN_ASSERT_OK(mgn_safetensors_read(path, &read));
    ck_assert_uint_eq(read.tensor_count, written.tensor_count);
    ck_assert_uint_eq(read.metadata_count, 2);
    for (size_t i = 0; i < read.tensor_count; i++) {
        const mgn_stored_tensor *a = &written.tensors[i], *b = &read.tensors[i];
        ck_assert_str_eq(a->name, b->name);
        ck_assert_int_eq(a->dtype, b->dtype);
        ck_assert_int_eq(a->shape.rank, b->shape.rank);
        for (int k = 0; k < a->shape.rank; k++) ck_assert_int_eq(a->shape.dim[k], b->shape.dim[k]);
        const size_t bytes = (size_t)mgn_shape_count(a->shape) * mgn_dtype_size(a->dtype);
        if (bytes) ck_assert_mem_eq(a->data, b->data, bytes);
    }
    ck_assert_str_eq(mgn_safetensors_get(&read, "note"), "line\nbreak, \xe2\x88\x87\xcf\x86");
    ck_assert_ptr_eq(mgn_safetensors_find(&read, "state"), &read.tensors[3]);
    ck_assert_ptr_null(mgn_safetensors_find(&read, "State"));
    ck_assert_ptr_null(mgn_safetensors_get(&read, "nothing"));
    mgn_safetensors_free(&read);
    mgn_safetensors_free(&written);
    mgn_safetensors_free(NULL);
}
END_TEST

START_TEST(safetensors_layout_is_the_formats) {
    mgn_safetensors written = make_example();
    const char *path = mgn_test_path("layout.safetensors");
    MGN_ASSERT_OK(mgn_safetensors_write(path, &written));
    size_t size;
    unsigned char *file = (unsigned char *)mgn_test_read_file(path, &size);
    ck_assert_uint_eq(file[0] % 8, 0);
    ck_assert_uint_eq(file[8], '{');
    const size_t length = file[0] | (size_t)file[1] << 8;
    ck_assert_uint_eq(size, 8 + length + 4 + 24 + 16 + 12 + 0 + 24);
    const double first = 1e300; /* the widest elements come first, so that all are aligned */
    ck_assert_mem_eq(file + 8 + length, &first, 8);
    free(file);
    mgn_safetensors_free(&written);
}
END_TEST

START_TEST(safetensors_reads_what_others_write) {
    mgn_safetensors file = {0};
    unsigned char bytes[512];
    const float data[] = {3, 4};
    /* Order of the header, of the keys and of the data are all free; blanks pad the end. */
    const size_t size = make_safetensors(bytes,
                                         "{\"b\":{\"data_offsets\":[4,8],\"shape\":[1,1],\"dtype\":\"F32\"}, \"a\" :\n"
                                         "{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}   ",
                                         data, 8);
    MGN_ASSERT_OK(parse_safetensors(bytes, size, &file));
    ck_assert_str_eq(file.tensors[0].name, "b");
    ck_assert_float_eq(*(float *)mgn_safetensors_find(&file, "a")->data, 3);
    ck_assert_float_eq(*(float *)mgn_safetensors_find(&file, "b")->data, 4);
    mgn_safetensors_free(&file);
    ck_assert_int_eq(parse_header("{}", NULL, 0), MGN_OK);
    ck_assert_int_eq(parse_header("{\"__metadata__\":{\"a\":\"\\u00e9\"}}", NULL, 0), MGN_OK);
}
END_TEST

#define TENSOR(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

START_TEST(safetensors_refuses_headers_that_lie) {
    const struct {
        const char *header;
        size_t bytes;
        mgn_status status;
        const char *text;
    } cases[] = {
        {"{" TENSOR("a", "F32", "[2]", "0", "8") "," TENSOR("b", "F32", "[2]", "4", "12") "}", 12, MGN_ERR_FORMAT,
         "tensor b: the data overlaps"},
        {"{" TENSOR("a", "F32", "[2]", "0", "8") "," TENSOR("b", "F32", "[2]", "0", "8") "}", 8, MGN_ERR_FORMAT,
         "overlaps"},
        {"{" TENSOR("a", "F32", "[1]", "0", "4") "," TENSOR("b", "F32", "[1]", "8", "12") "}", 12, MGN_ERR_FORMAT,
         "tensor b: there is a gap"},
        {"{" TENSOR("a", "F32", "[1]", "4", "8") "}", 8, MGN_ERR_FORMAT, "gap"},
        {"{" TENSOR("a", "F32", "[1]", "0", "4") "}", 8, MGN_ERR_FORMAT, "8 bytes of data follow"},
        {"{}", 1, MGN_ERR_FORMAT, "1 bytes of data follow"},
        {"{" TENSOR("a", "F32", "[3]", "0", "12") "}", 8, MGN_ERR_FORMAT, "beyond the end"},
        {"{" TENSOR("a", "F32", "[3]", "0", "8") "}", 8, MGN_ERR_FORMAT, "disagree"},
        {"{" TENSOR("a", "F64", "[2]", "0", "8") "}", 8, MGN_ERR_FORMAT, "disagree"},
        {"{" TENSOR("a", "F32", "[4611686018427387904,4]", "0", "0") "}", 0, MGN_ERR_FORMAT, "shape holds"},
        {"{" TENSOR("a", "F32", "[4294967296,4294967296]", "0", "0") "}", 0, MGN_ERR_FORMAT, "disagree"},
        {"{" TENSOR("a", "F32", "[9007199254740992,9007199254740992,0]", "0", "0") "}", 0, MGN_ERR_FORMAT, "disagree"},
        {"{" TENSOR("a", "F32", "[9007199254740992]", "0", "36028797018963968") "}", 8, MGN_ERR_FORMAT,
         "ascending offsets"},
        {"{" TENSOR("a", "F32", "[2]", "8", "0") "}", 8, MGN_ERR_FORMAT, "ascending offsets"},
        {"{" TENSOR("a", "F32", "[2]", "-8", "0") "}", 8, MGN_ERR_FORMAT, "ascending offsets"},
        {"{" TENSOR("a", "F32", "[2]", "0", "1e999") "}", 8, MGN_ERR_FORMAT, "ascending offsets"},
        {"{" TENSOR("a", "F32", "[2]", "0", "8,8") "}", 8, MGN_ERR_FORMAT, "ascending offsets"},
        {"{" TENSOR("a", "F32", "[1.5]", "0", "6") "}", 6, MGN_ERR_FORMAT, "shape holds"},
        {"{" TENSOR("a", "F32", "[\"2\"]", "0", "8") "}", 8, MGN_ERR_FORMAT, "shape holds"},
        {"{" TENSOR("a", "F32", "2", "0", "8") "}", 8, MGN_ERR_FORMAT, "not a list"},
        {"{" TENSOR("a", "F32", "[1,1,1,1,2]", "0", "8") "}", 8, MGN_ERR_UNSUPPORTED, "more than 4 axes"},
        {"{" TENSOR("a", "BF16", "[4]", "0", "8") "}", 8, MGN_ERR_UNSUPPORTED, "BF16"},
        {"{" TENSOR("", "F32", "[2]", "0", "8") "}", 8, MGN_ERR_FORMAT, "without a name"},
        {"{" TENSOR("a", "F32", "[1]", "0", "4") "," TENSOR("a", "F32", "[1]", "4", "8") "}", 8, MGN_ERR_FORMAT,
         "name a twice"},
        {"{" TENSOR("a\\u0000b", "F32", "[2]", "0", "8") "}", 8, MGN_ERR_FORMAT, "NUL"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, MGN_ERR_FORMAT, "each once"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, MGN_ERR_FORMAT,
         "each once"},
        {"{\"a\":{\"dtype\":\"F32\",\"more\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, MGN_ERR_FORMAT, "each once"},
        {"{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, MGN_ERR_FORMAT, "dtype is not a text"},
        {"{\"a\":[1]}", 0, MGN_ERR_FORMAT, "an object with"},
        {"{\"a\":null}", 0, MGN_ERR_FORMAT, "an object with"},
        {"{\"__metadata__\":{\"a\":1}}", 0, MGN_ERR_FORMAT, "not texts"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, MGN_ERR_FORMAT, "name a twice"},
        {"{\"__metadata__\":[]}", 0, MGN_ERR_FORMAT, "__metadata__"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, MGN_ERR_FORMAT, "__metadata__"},
        {"{\"a\":{\"shape\":[[2]]}}", 0, MGN_ERR_FORMAT, "nested"},
        {"[]", 0, MGN_ERR_FORMAT, "start with {"},
        {" {}", 0, MGN_ERR_FORMAT, "start with {"},
        {"{} {}", 0, MGN_ERR_FORMAT, "one JSON object"},
        {"{\"a\"", 0, MGN_ERR_FORMAT, "one JSON object"},
        {"{\"a\":\"\\", 0, MGN_ERR_FORMAT, "one JSON object"},
        {"{\"\xff\":1}", 0, MGN_ERR_FORMAT, "UTF-8"},
        {"{\"\x01\":1}", 0, MGN_ERR_FORMAT, "control character"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const mgn_status status = parse_header(cases[k].header, NULL, cases[k].bytes);
        ck_assert_msg(status == cases[k].status && strstr(mgn_last_error(), cases[k].text), "%s: status %d, %s",
                      cases[k].header, (int)status, mgn_last_error());
    }
}
END_TEST

START_TEST(safetensors_refuses_lengths_that_lie) {
    mgn_safetensors file = {0};
    unsigned char bytes[64] = "\xff\xff\xff\xff\xff\xff\xff\xff{}";
    MGN_ASSERT_FAILS(parse_safetensors(bytes, 10, &file), MGN_ERR_FORMAT, "2 bytes follow");
    memcpy(bytes, "\x03\0\0\0\0\0\0\0", 8);
    MGN_ASSERT_FAILS(parse_safetensors(bytes, 10, &file), MGN_ERR_FORMAT, "3 bytes is announced");
    memcpy(bytes, "\0\0\0\0\0\0\0\0", 8);
    MGN_ASSERT_FAILS(parse_safetensors(bytes, 10, &file), MGN_ERR_FORMAT, "0 bytes is announced");
    MGN_ASSERT_FAILS(parse_safetensors(bytes, 9, &file), MGN_ERR_FORMAT, "too short");
    const size_t above = (16 << 20) + 8;
    unsigned char *large = calloc(above + 8, 1);
    memset(large + 8, ' ', above);
    memcpy(large, "\x08\0\0\x01\0\0\0\0", 8);
    MGN_ASSERT_FAILS(mgn_safetensors_parse(large, above + 8, "large", &file), MGN_ERR_UNSUPPORTED, "up to 16777216");
    free(large);
    /* Depth alone must not cost anything: an array in an array, 30,000 times. */
    char *deep = malloc(60011);
    memset(deep, '[', 60010);
    memcpy(deep, "{\"a\":", 5);
    deep[60010] = 0;
    ck_assert_int_eq(parse_header(deep, NULL, 0), MGN_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(mgn_last_error(), "nested"));
    free(deep);
}
END_TEST

START_TEST(safetensors_names_the_weight_that_is_not_a_number) {
    const float floats[] = {1, 2, NAN, 4};
    const double doubles[] = {1, -INFINITY};
    ck_assert_int_eq(parse_header("{" TENSOR("layer.weight", "F32", "[2,2]", "0", "16") "}", floats, 16),
                     MGN_ERR_NUMERIC);
    ck_assert_ptr_nonnull(strstr(mgn_last_error(), "element 2 "));
    ck_assert_ptr_nonnull(strstr(mgn_last_error(), "layer.weight"));
    ck_assert_int_eq(parse_header("{" TENSOR("d", "F64", "[2]", "0", "16") "}", doubles, 16), MGN_ERR_NUMERIC);
    ck_assert_int_eq(parse_header("{" TENSOR("u", "U32", "[4]", "0", "16") "}", floats, 16), MGN_OK);
    mgn_safetensors file = {0};
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "w", MGN_F32, SHAPE1(4), floats));
    MGN_ASSERT_FAILS(mgn_safetensors_write(mgn_test_path("nan.safetensors"), &file), MGN_ERR_NUMERIC, "element 2 ");
    struct stat info;
    ck_assert_int_ne(stat(mgn_test_path("nan.safetensors"), &info), 0);
    mgn_safetensors_free(&file);
}
END_TEST

START_TEST(safetensors_checks_what_is_added) {
    mgn_safetensors file = {0};
    const float value = 1;
    MGN_ASSERT_OK(mgn_safetensors_add(&file, "a", MGN_F32, SHAPE1(1), &value));
    MGN_ASSERT_FAILS(mgn_safetensors_add(&file, "a", MGN_F32, SHAPE1(1), &value), MGN_ERR_ARGUMENT, "already");
    MGN_ASSERT_FAILS(mgn_safetensors_add(&file, "", MGN_F32, SHAPE1(1), &value), MGN_ERR_ARGUMENT, "cannot name");
    MGN_ASSERT_FAILS(mgn_safetensors_add(&file, "__metadata__", MGN_F32, SHAPE1(1), &value), MGN_ERR_ARGUMENT,
                     "cannot name");
    MGN_ASSERT_FAILS(mgn_safetensors_add(&file, "\xc0\x80", MGN_F32, SHAPE1(1), &value), MGN_ERR_ARGUMENT,
                     "cannot name");
    MGN_ASSERT_FAILS(mgn_safetensors_add(&file, "b", MGN_F32, SHAPE1(-1), &value), MGN_ERR_ARGUMENT, "size -1");
    MGN_ASSERT_FAILS(mgn_safetensors_add(&file, "b", MGN_F32, (mgn_shape){5, {1}}, &value), MGN_ERR_ARGUMENT, "not 5");
    MGN_ASSERT_FAILS(mgn_safetensors_add(&file, "b", MGN_F32, SHAPE1(INT64_MAX), &value), MGN_ERR_ARGUMENT,
                     "addressed");
    MGN_ASSERT_FAILS(mgn_safetensors_add(&file, "b", MGN_F32, SHAPE1(1), NULL), MGN_ERR_ARGUMENT, "not NULL");
    MGN_ASSERT_FAILS(mgn_safetensors_set(&file, "\xed\xa0\x80", "x"), MGN_ERR_ARGUMENT, "UTF-8");
    ck_assert_uint_eq(file.tensor_count, 1);
    ck_assert_uint_eq(file.metadata_count, 0);
    /* A struct filled by hand is checked when it is written. */
    mgn_stored_tensor twice[2] = {file.tensors[0], file.tensors[0]};
    const mgn_safetensors by_hand = {.tensor_count = 2, .tensors = twice};
    MGN_ASSERT_FAILS(mgn_safetensors_write(mgn_test_path("twice.safetensors"), &by_hand), MGN_ERR_ARGUMENT, "twice");
    mgn_safetensors_free(&file);
}
END_TEST

START_TEST(safetensors_survives_truncation_and_bit_flips) {
    mgn_test_random random = MGN_TEST_RANDOM();
    mgn_safetensors written = make_example(), read = {0};
    const char *path = mgn_test_path("damaged.safetensors");
    MGN_ASSERT_OK(mgn_safetensors_write(path, &written));
    mgn_safetensors_free(&written);
    size_t size;
    char *file = mgn_test_read_file(path, &size);
    for (size_t length = 0; length < size; length++) ck_assert_int_ne(parse_safetensors(file, length, &read), MGN_OK);
    for (int k = 0; k < 20000; k++) {
        char *copy = (char *)exact_copy(file, size);
        for (int64_t flips = mgn_test_integer(&random, 1, 3); flips > 0; flips--)
            copy[mgn_test_integer(&random, 0, (int64_t)size - 1)] ^= (char)(1 << mgn_test_integer(&random, 0, 7));
        if (parse_safetensors(copy, size, &read) == MGN_OK) mgn_safetensors_free(&read);
        ck_assert_ptr_null(read.tensors);
        free(copy);
    }
    free(file);
}
END_TEST

START_TEST(utf8_is_checked_by_the_book) {
    const char *good[] = {"",
                          "a",
                          "\xc2\x80",
                          "\xdf\xbf",
                          "\xe0\xa0\x80",
                          "\xed\x9f\xbf",
                          "\xef\xbf\xbf",
                          "\xf0\x90\x80\x80",
                          "\xf4\x8f\xbf\xbf"};
    const char *bad[] = {"\x80",
                         "\xc1\xbf",
                         "\xc2",
                         "\xe0\x9f\xbf",
                         "\xed\xa0\x80",
                         "\xe2\x82",
                         "\xf0\x8f\xbf\xbf",
                         "\xf4\x90\x80\x80",
                         "\xf5\x80\x80\x80",
                         "a\xff"};
    for (size_t k = 0; k < sizeof good / sizeof *good; k++)
        ck_assert_msg(mgn_is_utf8(good[k], strlen(good[k])), "good %zu", k);
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        ck_assert_msg(!mgn_is_utf8(bad[k], strlen(bad[k])), "bad %zu", k);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("data");
    TCase *tables = tcase_create("tables"), *tensors = tcase_create("safetensors");
    tcase_add_test(tables, matrix_sizes_are_checked);
    tcase_add_test(tables, npy_round_trip_is_exact);
    tcase_add_test(tables, npy_types_orders_and_versions);
    tcase_add_test(tables, npy_refuses_what_it_cannot_hold);
    tcase_add_test(tables, npy_survives_truncation_and_bit_flips);
    tcase_add_test(tables, csv_dialects);
    tcase_add_test(tables, csv_names_the_place_of_what_it_refuses);
    tcase_add_test(tables, csv_round_trip_is_exact_in_any_locale);
    tcase_add_test(tables, csv_survives_truncation_and_bit_flips);
    tcase_add_test(tables, tables_are_written_by_their_ending);
    tcase_add_test(tensors, safetensors_round_trip_is_exact);
    tcase_add_test(tensors, safetensors_layout_is_the_formats);
    tcase_add_test(tensors, safetensors_reads_what_others_write);
    tcase_add_test(tensors, safetensors_refuses_headers_that_lie);
    tcase_add_test(tensors, safetensors_refuses_lengths_that_lie);
    tcase_add_test(tensors, safetensors_names_the_weight_that_is_not_a_number);
    tcase_add_test(tensors, safetensors_checks_what_is_added);
    tcase_add_test(tensors, safetensors_survives_truncation_and_bit_flips);
    tcase_add_test(tensors, utf8_is_checked_by_the_book);
    suite_add_tcase(suite, tables);
    suite_add_tcase(suite, tensors);
    return mgn_test_main(suite);
}

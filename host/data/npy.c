/* NumPy's .npy: a magic number, a Python dictionary literal that says type, order and shape, then the raw array.
 *
 * The dictionary is read by a scanner that knows just the three keys which the format prescribes, in any order; it is
 * not a Python parser, and whatever it does not know it refuses. Every type goes through one loader that yields a
 * double, except plain floats, which are copied: they are what large files hold. */
#include <mgn/data.h>

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "data/npy.h"

#define MAGIC "\x93NUMPY"
enum { MAGIC_BYTES = 6, PREFIX_BYTES = 10 };

/* The layout while the header is read, when the shape is not yet one of rows and columns. */
typedef struct npy_header {
    mgn_npy_layout layout;
    int axes;
    int64_t shape[2];
} npy_header;

/* ---- the dictionary ---- */

typedef struct scanner {
    const char *at, *end, *label;
} scanner;

static char peek(scanner *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r')) s->at++;
    return s->at < s->end ? *s->at : 0;
}

static bool accept(scanner *s, char c) {
    if (peek(s) != c) return false;
    s->at++;
    return true;
}

static bool accept_word(scanner *s, const char *word) {
    const size_t length = strlen(word);
    peek(s);
    if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length) != 0) return false;
    s->at += length;
    return true;
}

static mgn_status bad_header(const scanner *s, const char *expected) {
    const mgn_printable shown = mgn_make_printable(s->at, (size_t)(s->end - s->at));
    return mgn_fail(MGN_ERR_FORMAT, "%s: the .npy header is damaged: %s was expected at \"%s\"", s->label, expected,
                    shown.text);
}

/* A quoted string without escapes; longer ones than the buffer are none that the format uses. */
static bool scan_string(scanner *s, char *text, size_t room) {
    const char quote = peek(s);
    if (quote != '\'' && quote != '"') return false;
    const char *start = s->at + 1, *stop = start;
    while (stop < s->end && *stop != quote) stop++;
    const size_t length = (size_t)(stop - start);
    if (stop == s->end || length >= room) return false;
    memcpy(text, start, length);
    text[length] = 0;
    s->at = stop + 1;
    return true;
}

static mgn_status scan_type(scanner *s, npy_header *header) {
    if (peek(s) == '[')
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s: the array has named fields; save a plain array of numbers", s->label);
    char text[16];
    if (!scan_string(s, text, sizeof text)) return bad_header(s, "a type such as '<f4'");
    const mgn_printable shown = mgn_make_printable(text, strlen(text));
    const char order = text[0], kind = order ? text[1] : 0, digit = kind ? text[2] : 0;
    const bool known = order && kind && digit && !text[3] && strchr("<>|=", order) &&
                       ((kind == 'b' && digit == '1') || (kind == 'f' && strchr("48", digit)) ||
                        (strchr("iu", kind) && strchr("1248", digit)));
    if (!known)
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "%s: elements of type '%s' cannot be read; convert the array to float32 ('<f4')", s->label,
                        shown.text);
    header->layout.kind = kind;
    header->layout.item = (size_t)(digit - '0');
    const bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    header->layout.swapped = header->layout.item > 1 && ((order == '>' && little) || (order == '<' && !little));
    return MGN_OK;
}

static mgn_status scan_shape(scanner *s, npy_header *header) {
    if (!accept(s, '(')) return bad_header(s, "a shape such as (100, 2)");
    header->axes = 0;
    while (!accept(s, ')')) {
        int64_t dim = 0;
        const char first = peek(s);
        if (first < '0' || first > '9') return bad_header(s, "a dimension");
        for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
            if (__builtin_mul_overflow(dim, 10, &dim) || __builtin_add_overflow(dim, *s->at - '0', &dim))
                return bad_header(s, "a dimension below 2^63");
        accept(s, 'L'); /* long integers of Python 2 */
        if (header->axes < 2) header->shape[header->axes] = dim;
        if (header->axes < 1000) header->axes++;
        if (peek(s) != ')' && !accept(s, ',')) return bad_header(s, "a comma or a closing parenthesis");
    }
    return MGN_OK;
}

static mgn_status scan_dictionary(scanner *s, npy_header *header) {
    enum { TYPE = 1, ORDER = 2, SHAPE = 4 };
    int seen = 0;
    if (!accept(s, '{')) return bad_header(s, "{");
    while (!accept(s, '}')) {
        char key[24];
        if (!scan_string(s, key, sizeof key)) return bad_header(s, "a key");
        const int which = !strcmp(key, "descr")           ? TYPE
                          : !strcmp(key, "fortran_order") ? ORDER
                          : !strcmp(key, "shape")         ? SHAPE
                                                          : 0;
        if (!which || (seen & which)) return bad_header(s, "each of 'descr', 'fortran_order' and 'shape' once");
        seen |= which;
        if (!accept(s, ':')) return bad_header(s, "a colon");
        if (which == TYPE) MGN_TRY(scan_type(s, header));
        if (which == SHAPE) MGN_TRY(scan_shape(s, header));
        if (which == ORDER) {
            header->layout.fortran = accept_word(s, "True");
            if (!header->layout.fortran && !accept_word(s, "False")) return bad_header(s, "True or False");
        }
        if (peek(s) != '}' && !accept(s, ',')) return bad_header(s, "a comma or }");
    }
    if (seen != (TYPE | ORDER | SHAPE))
        return bad_header(s, "each of 'descr', 'fortran_order' and 'shape' before the end");
    if (peek(s)) return bad_header(s, "nothing but blanks after }");
    return MGN_OK;
}

/* ---- the file ---- */

static mgn_status parse_header(const unsigned char *bytes, size_t size, const char *label, npy_header *header) {
    if (size < PREFIX_BYTES || memcmp(bytes, MAGIC, MAGIC_BYTES) != 0)
        return mgn_fail(MGN_ERR_FORMAT, "%s is not an .npy file: it does not start with \\x93NUMPY", label);
    const int version = bytes[MAGIC_BYTES];
    if (version < 1 || version > 3)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s is an .npy file of version %d; 1 to 3 can be read", label, version);
    size_t at = PREFIX_BYTES, length = bytes[8] | (size_t)bytes[9] << 8;
    if (version > 1) {
        at += 2;
        if (size < at) return mgn_fail(MGN_ERR_FORMAT, "%s ends within the .npy header", label);
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    }
    if (length > size - at)
        return mgn_fail(MGN_ERR_FORMAT, "%s: the .npy header claims %zu bytes, but only %zu follow", label, length,
                        size - at);
    scanner s = {(const char *)bytes + at, (const char *)bytes + at + length, label};
    MGN_TRY(scan_dictionary(&s, header));
    header->layout.data_at = at + length;
    return MGN_OK;
}

/* The shape as rows and columns, held against the bytes that there are. */
static mgn_status check_shape(const npy_header *header, size_t size, const char *label, mgn_npy_layout *layout) {
    if (header->axes < 1 || header->axes > 2)
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "%s holds an array of %d axes; 1 (n) or 2 (n, d) were expected, reshape it", label,
                        header->axes);
    *layout = header->layout;
    const int64_t rows = layout->rows = header->shape[0],
                  columns = layout->columns = header->axes == 2 ? header->shape[1] : 1;
    if (rows == 0 || columns == 0)
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s holds an empty array of %lld x %lld; at least one row and one column were expected", label,
                        (long long)rows, (long long)columns);
    int64_t count, bytes;
    const size_t present = size - layout->data_at;
    if (__builtin_mul_overflow(rows, columns, &count) || __builtin_mul_overflow(count, (int64_t)layout->item, &bytes) ||
        (uint64_t)bytes != present)
        return mgn_fail(MGN_ERR_FORMAT,
                        "%s: an array of %lld x %lld elements of %zu bytes was announced, but %zu bytes of data follow",
                        label, (long long)rows, (long long)columns, layout->item, present);
    return MGN_OK;
}

mgn_status mgn_npy_parse_layout(const void *bytes, size_t size, const char *label, mgn_npy_layout *layout) {
    npy_header header = {0};
    MGN_TRY(parse_header(bytes, size, label, &header));
    return check_shape(&header, size, label, layout);
}

/* ---- values ---- */

static double load(const mgn_npy_layout *layout, const unsigned char *at) {
    unsigned char raw[8] = {0};
    for (size_t i = 0; i < layout->item; i++) raw[i] = at[layout->swapped ? layout->item - 1 - i : i];
    union {
        float f4;
        double f8;
        int8_t i1;
        int16_t i2;
        int32_t i4;
        int64_t i8;
        uint8_t u1;
        uint16_t u2;
        uint32_t u4;
        uint64_t u8;
    } v;
    memcpy(&v, raw, sizeof raw);
    if (layout->kind == 'f') return layout->item == 4 ? (double)v.f4 : v.f8;
    if (layout->kind == 'i')
        return layout->item == 1 ? v.i1 : layout->item == 2 ? v.i2 : layout->item == 4 ? v.i4 : (double)v.i8;
    return layout->item == 1 ? v.u1 : layout->item == 2 ? v.u2 : layout->item == 4 ? v.u4 : (double)v.u8;
}

mgn_status mgn_npy_refuse_value(const char *label, double value, int64_t row, int64_t column) {
    return mgn_fail(MGN_ERR_NUMERIC,
                    "%s: the value in row %lld, column %lld (counted from 0) is %g; a finite float was expected", label,
                    (long long)row, (long long)column, value);
}

int64_t mgn_npy_convert_row(const mgn_npy_layout *layout, const unsigned char *data, int64_t row, float *out,
                            double *refused) {
    const int64_t rows = layout->rows, columns = layout->columns;
    const bool plain = layout->kind == 'f' && layout->item == 4 && !layout->swapped && !layout->fortran;
    if (plain) memcpy(out, data + (size_t)(row * columns) * sizeof(float), (size_t)columns * sizeof(float));
    for (int64_t column = 0; column < columns; column++) {
        const int64_t index = layout->fortran ? column * rows + row : row * columns + column;
        const double value = plain ? (double)out[column] : load(layout, data + (size_t)index * layout->item);
        if (!mgn_fits_float(value)) {
            *refused = value;
            return column;
        }
        if (!plain) out[column] = (float)value;
    }
    return -1;
}

/* ---- the whole table ---- */

mgn_status mgn_npy_parse(const void *bytes, size_t size, const char *label, mgn_matrix *matrix) {
    if (!bytes || !label || !matrix)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading .npy needs bytes, a label and a place for the table, not NULL");
    mgn_npy_layout layout = {0};
    mgn_matrix made;
    MGN_TRY(mgn_npy_parse_layout(bytes, size, label, &layout));
    MGN_TRY(mgn_matrix_create(layout.rows, layout.columns, &made));
    const unsigned char *data = (const unsigned char *)bytes + layout.data_at;
    for (int64_t row = 0; row < made.rows; row++) {
        double refused = 0;
        const int64_t column = mgn_npy_convert_row(&layout, data, row, made.values + row * made.columns, &refused);
        if (column < 0) continue;
        mgn_matrix_free(&made);
        return mgn_npy_refuse_value(label, refused, row, column);
    }
    *matrix = made;
    return MGN_OK;
}

mgn_status mgn_npy_read(const char *path, mgn_matrix *matrix) {
    if (!path || !matrix)
        return mgn_fail(MGN_ERR_ARGUMENT, "reading .npy needs a path and a place for the table, not NULL");
    unsigned char *bytes;
    size_t size;
    MGN_TRY(mgn_file_read(path, SIZE_MAX, &bytes, &size));
    const mgn_status status = mgn_npy_parse(bytes, size, path, matrix);
    mgn_free(bytes);
    return status;
}

mgn_status mgn_npy_write_header(mgn_output_file *output, int64_t rows, int64_t columns) {
    /* The data starts at a multiple of 64 bytes, as the format asks; the longest shape fits into 128. */
    unsigned char header[128];
    memset(header, ' ', sizeof header);
    memcpy(header, MAGIC "\x01\x00", MAGIC_BYTES + 2);
    header[8] = sizeof header - PREFIX_BYTES;
    header[9] = 0;
    char text[sizeof header];
    const int length =
        snprintf(text, sizeof text, "{'descr': '%cf4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                 __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>', (long long)rows, (long long)columns);
    memcpy(header + PREFIX_BYTES, text, (size_t)length);
    header[sizeof header - 1] = '\n';
    return mgn_output_write(output, header, sizeof header);
}

mgn_status mgn_npy_write(const char *path, const mgn_matrix *matrix) {
    if (!path || !matrix || !matrix->values || matrix->rows < 1 || matrix->columns < 1)
        return mgn_fail(MGN_ERR_ARGUMENT, "writing .npy needs a path and a table that is not empty");
    mgn_output_file *output;
    MGN_TRY(mgn_output_open(path, &output));
    mgn_status status = mgn_npy_write_header(output, matrix->rows, matrix->columns);
    if (status == MGN_OK)
        status =
            mgn_output_write(output, matrix->values, (size_t)matrix->rows * (size_t)matrix->columns * sizeof(float));
    if (status == MGN_OK) return mgn_output_commit(output);
    mgn_output_discard(output);
    return status;
}

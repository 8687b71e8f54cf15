/* Samples and named tensors in files: .npy, numeric .csv, and safetensors.
 *
 * Every byte that is read is untrusted: sizes are checked against the file's length and for overflow before anything
 * is allocated, and values that are NaN or infinite are refused with the place where they stand. Files are written
 * beside the target and renamed, so a reader sees the old file or the whole new one.
 *
 * The `_read` functions take a path; the `_parse` functions take the same bytes from memory (they need not be aligned
 * nor end in NUL), and `label` is what error sentences call them. All are safe to call from several threads. */
#ifndef MGN_DATA_H
#define MGN_DATA_H

#include <mgn/core.h>
#include <mgn/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tables of samples ---- */

/** One sample a row: values[row * columns + column]. Single precision, because that is what models are trained and
 *  applied in and tables reach 10^5 x 784; sums over rows are for the reader to make in double, as <mgn/ot.h> does. */
typedef struct mgn_matrix {
    int64_t rows, columns;
    float *values;
} mgn_matrix;

/** A zeroed table of at least one row and one column, to be freed by mgn_matrix_free.
 *  Errors: ARGUMENT (a size below 1, or too large to address), MEMORY. */
MGN_API mgn_status mgn_matrix_create(int64_t rows, int64_t columns, mgn_matrix *matrix);
/** Frees the values and zeroes the struct. NULL and zeroed structs are fine. */
MGN_API void mgn_matrix_free(mgn_matrix *matrix);

/** Reads a NumPy array of one axis (n) -> (n, 1) or two (n, d) -> (n, d): format 1 to 3, types b1, i1, u1, i2, u2, i4,
 *  u4, i8, u8, f4 and f8 in either byte order, C or Fortran order. Everything becomes float; integers are not scaled
 *  (0..255 stays 0..255). The caller frees `matrix`.
 *  Errors: IO; FORMAT (damaged, empty, or a length that disagrees with the header); UNSUPPORTED (another type, or
 *  another number of axes); NUMERIC (NaN, infinite, or beyond the range of float, with row and column counted from 0);
 *  ARGUMENT (a NULL pointer); MEMORY. */
MGN_API mgn_status mgn_npy_read(const char *path, mgn_matrix *matrix);
MGN_API mgn_status mgn_npy_parse(const void *bytes, size_t size, const char *label, mgn_matrix *matrix);
/** Writes (rows, columns) as format 1.0, '<f4', C order. NaN and infinities are written as they are. */
MGN_API mgn_status mgn_npy_write(const char *path, const mgn_matrix *matrix);

/** A NumPy array that stays in its file, which is mapped into memory: opening takes no longer for 20 GB than for 20 kB, and
 *  a row is read and made float when it is asked for. */
typedef struct mgn_npy_map mgn_npy_map;

/** Types, orders and axes are those of mgn_npy_read, and so are the checks of the header against the file's length; values
 *  are looked at when their row is. Close it with mgn_npy_map_close.
 *  Errors: IO (also for pipes and devices, which cannot be mapped), FORMAT, UNSUPPORTED, ARGUMENT, MEMORY. */
MGN_API mgn_status mgn_npy_map_open(const char *path, mgn_npy_map **map);
/** Takes NULL. */
MGN_API void mgn_npy_map_close(mgn_npy_map *map);
MGN_API int64_t mgn_npy_map_rows(const mgn_npy_map *map);
MGN_API int64_t mgn_npy_map_columns(const mgn_npy_map *map);
/** Copies the rows index[0 .. n-1], or the first n where `index` is NULL, to `rows` (n, columns).
 *  Errors: ARGUMENT (a row that the table does not have); NUMERIC (NaN, infinite or beyond the range of float, the first
 *  in the order of `index`); IO (the file has become shorter since it was opened). */
MGN_API mgn_status mgn_npy_map_gather(const mgn_npy_map *map, const uint32_t *index, int64_t n, float *rows);

/** Copies the rows first .. first + n - 1 to `rows` (n, columns), and gives their pages back to the system: a table of any
 *  length can be walked through in constant memory. Errors: those of mgn_npy_map_gather. */
MGN_API mgn_status mgn_npy_map_read(const mgn_npy_map *map, int64_t first, int64_t n, float *rows);

/** Reads numbers separated by semicolons, commas, tabs or blanks: whichever of these, in this order, the first line
 *  has. Blank lines and lines that start with # are skipped; a first line that has a quoted field, or in which no
 *  field is a number, is a header; fields may be quoted, lines may end in LF, CRLF or CR, a UTF-8 byte order mark is
 *  skipped. The decimal sign is a point, whatever the locale. The caller frees `matrix`.
 *  Errors: IO; FORMAT (a field that is not a number, a row of another length, no rows at all: with line and column
 *  counted from 1); NUMERIC (NaN, infinite, or beyond the range of float); ARGUMENT; MEMORY. */
MGN_API mgn_status mgn_csv_read(const char *path, mgn_matrix *matrix);
MGN_API mgn_status mgn_csv_parse(const void *bytes, size_t size, const char *label, mgn_matrix *matrix);
/** Writes commas and LF, with nine significant digits, so that reading gives the same bits back. `names` is NULL or
 *  `columns` header texts, which are quoted. */
MGN_API mgn_status mgn_csv_write(const char *path, const mgn_matrix *matrix, const char *const *names);

/** Reads .npy or .csv, whichever the first bytes say the file is. */
MGN_API mgn_status mgn_table_read(const char *path, mgn_matrix *matrix);
/** Writes .csv or .npy, by the path's ending. Errors: ARGUMENT (neither), IO, MEMORY. */
MGN_API mgn_status mgn_table_write(const char *path, const mgn_matrix *matrix);

/* ---- safetensors ---- */

/** One tensor of a file. `data` holds mgn_shape_count(shape) elements, row-major. */
typedef struct mgn_stored_tensor {
    char *name; /**< UTF-8, unique in its file, never "__metadata__" */
    mgn_dtype dtype;
    mgn_shape shape; /**< rank 0 is a scalar; a dimension may be 0 */
    void *data;      /**< aligned to 64 bytes */
} mgn_stored_tensor;

typedef struct mgn_stored_text {
    char *key, *value; /**< UTF-8; keys are unique */
} mgn_stored_text;

/** The content of a safetensors file: tensors in the order of the header, and its "__metadata__". Start from a zeroed
 *  struct (`mgn_safetensors file = {0};`); it owns everything that it points to. */
typedef struct mgn_safetensors {
    size_t tensor_count;
    mgn_stored_tensor *tensors;
    size_t metadata_count;
    mgn_stored_text *metadata;
} mgn_safetensors;

/** Reads the types F32, F64 and U32. Nothing in the file is believed: header length, nesting, duplicate names, shapes,
 *  and offsets, which must cover the data without gap or overlap, are all checked.
 *  Errors: IO; FORMAT; UNSUPPORTED (another type, more than MGN_MAX_RANK axes, a header above 16 MiB);
 *  NUMERIC (NaN or infinite, with the tensor's name and the flat index); ARGUMENT; MEMORY. */
MGN_API mgn_status mgn_safetensors_read(const char *path, mgn_safetensors *file);
MGN_API mgn_status mgn_safetensors_parse(const void *bytes, size_t size, const char *label, mgn_safetensors *file);
/** Writes a file that Python's `safetensors` loads unchanged. Refuses what mgn_safetensors_read would refuse. */
MGN_API mgn_status mgn_safetensors_write(const char *path, const mgn_safetensors *file);
MGN_API void mgn_safetensors_free(mgn_safetensors *file);

/** Appends a tensor; `data` is copied. Errors: ARGUMENT (name taken, empty or not UTF-8; bad shape), MEMORY. */
MGN_API mgn_status mgn_safetensors_add(mgn_safetensors *file, const char *name, mgn_dtype dtype, mgn_shape shape,
                                       const void *data);
/** Sets the text of `key`, replacing what was there. */
MGN_API mgn_status mgn_safetensors_set(mgn_safetensors *file, const char *key, const char *value);
/** The tensor of that name, or NULL. */
MGN_API const mgn_stored_tensor *mgn_safetensors_find(const mgn_safetensors *file, const char *name);
/** The text of that key, or NULL. */
MGN_API const char *mgn_safetensors_get(const mgn_safetensors *file, const char *key);

#ifdef __cplusplus
}
#endif
#endif

//! Pure library: kinds, schemas, defaults, validation, patching, selectors, quantities, printers and Status errors.

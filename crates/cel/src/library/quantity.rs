//! Resource quantities.

use std::cmp::Ordering;

use api::quantity::{Format, Quantity};

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Extension, Outcome, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("string_to_quantity", "quantity(string) -> kubernetes.Quantity", quantity),
    ("is_quantity_string", "isQuantity(string) -> bool", is_quantity),
    ("quantity_sign", "kubernetes.Quantity::sign() -> int", sign),
    ("quantity_is_integer", "kubernetes.Quantity::isInteger() -> bool", is_integer),
    ("quantity_get_int", "kubernetes.Quantity::asInteger() -> int", as_integer),
    ("quantity_get_float", "kubernetes.Quantity::asApproximateFloat() -> double", as_approximate_float),
    ("quantity_is_greater_than", "kubernetes.Quantity::isGreaterThan(kubernetes.Quantity) -> bool", is_greater),
    ("quantity_is_less_than", "kubernetes.Quantity::isLessThan(kubernetes.Quantity) -> bool", is_less),
    ("quantity_compare_to", "kubernetes.Quantity::compareTo(kubernetes.Quantity) -> int", compare_to),
    ("quantity_add", "kubernetes.Quantity::add(kubernetes.Quantity) -> kubernetes.Quantity", add),
    ("quantity_add_int", "kubernetes.Quantity::add(int) -> kubernetes.Quantity", add),
    ("quantity_sub", "kubernetes.Quantity::sub(kubernetes.Quantity) -> kubernetes.Quantity", sub),
    ("quantity_sub_int", "kubernetes.Quantity::sub(int) -> kubernetes.Quantity", sub),
];

fn quantity<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text)] = args else { return Err(EvalError::NoSuchOverload) };
    let parsed = Quantity::parse(text).map_err(|error| EvalError::failed(error.to_string()))?;
    Ok(Value::extension(Extension::Quantity(parsed)))
}

fn is_quantity<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(Value::Bool(Quantity::parse(text).is_ok()))
}

fn of(value: Option<&Value<'_>>) -> Result<Quantity, EvalError> {
    match value {
        Some(Value::Extension(extension)) => match **extension {
            Extension::Quantity(quantity) => Ok(quantity),
            _ => Err(EvalError::NoSuchOverload),
        },
        Some(Value::Int(int)) => Ok(Quantity::new(*int, Format::DecimalSi)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn sign<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(i64::from(of(args.first())?.sign())))
}

fn is_integer<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(of(args.first())?.is_integer()))
}

fn as_integer<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let quantity = of(args.first())?;
    if !quantity.is_integer() {
        return Err(EvalError::failed("cannot convert value to integer"));
    }
    Ok(Value::Int(quantity.value()))
}

fn as_approximate_float<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Double(of(args.first())?.as_f64()))
}

fn order(args: &[Value<'_>]) -> Result<Ordering, EvalError> {
    Ok(of(args.first())?.cmp(&of(args.get(1))?))
}

fn is_greater<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_gt()))
}

fn is_less<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_lt()))
}

fn compare_to<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(order(args)? as i64))
}

fn add<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut quantity = of(args.first())?;
    quantity += of(args.get(1))?;
    Ok(Value::extension(Extension::Quantity(quantity)))
}

fn sub<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut quantity = of(args.first())?;
    quantity -= of(args.get(1))?;
    Ok(Value::extension(Extension::Quantity(quantity)))
}

//! Evaluates steps and counts what they cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cost::{self, LIST_CREATE, MAP_CREATE, MESSAGE_CREATE, Meter};
use crate::error::EvalError;
use crate::library::Overload;
use crate::plan::{FoldStep, Step};
use crate::value::{Key, List, Map, Message, Outcome, Value};
use crate::variables::Visible;

/// An evaluation under way.
pub(crate) struct Machine<'p, 'a> {
    /// The variables of the environment, those that are bound.
    pub globals: &'p [Option<Outcome<'a>>],
    /// The variable whose fields are evaluated when they are asked for.
    pub variables: Option<(usize, &'p Visible<'a>)>,
    /// The names of the variables of the environment.
    pub names: &'p [String],
    /// The variables of loops.
    pub locals: Vec<Outcome<'a>>,
    /// What has been spent.
    pub meter: Meter<'p>,
}

/// Whether an error ends the evaluation, whatever else could still decide it.
fn is_final(error: &EvalError) -> bool {
    matches!(error, EvalError::CostLimitExceeded)
}

impl<'p, 'a> Machine<'p, 'a> {
    /// Evaluates one step.
    pub(crate) fn eval(&mut self, step: &Step) -> Outcome<'a> {
        match step {
            Step::Const(value) => Ok(value.clone()),
            Step::Global(index) => {
                self.meter.charge(1)?;
                if let Some(variables) = self.variables_at(step) {
                    return variables.all();
                }
                let unbound = || EvalError::NoSuchAttribute(self.names[*index].clone());
                self.globals.get(*index).cloned().flatten().unwrap_or_else(|| Err(unbound()))
            }
            Step::Local(slot) => {
                self.meter.charge(1)?;
                self.locals[*slot].clone()
            }
            Step::Field { operand, name, optional } => self.field(operand, name, *optional),
            Step::Has { operand, name } => {
                let (found, _) = self.found(operand, name, 0)?;
                Ok(Value::Bool(found.is_some()))
            }
            Step::And(left, right) => self.logic(left, right, false),
            Step::Or(left, right) => self.logic(left, right, true),
            Step::NotStrictlyFalse(operand) => {
                self.meter.charge(1)?;
                match self.eval(operand) {
                    Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
                    Err(error) if is_final(&error) => Err(error),
                    _ => Ok(Value::Bool(true)),
                }
            }
            Step::Choice(choice) => {
                let [condition, yes, no] = &**choice;
                match self.eval(condition)? {
                    Value::Bool(true) => self.eval(yes),
                    Value::Bool(false) => self.eval(no),
                    _ => Err(EvalError::NoSuchOverload),
                }
            }
            Step::List(elements) => self.list(elements),
            Step::Map(entries) => self.map(entries),
            Step::Message { name, fields } => self.message(name, fields),
            Step::Call { overloads, args } => self.call(overloads, args),
            Step::Append { slot, item } => self.append(*slot, item),
            Step::Insert { slot, key, value, overload } => self.insert(*slot, [key, value], overload),
            Step::Fold(fold) => self.fold(fold),
        }
    }

    /// The variables that a step stands for, if it does.
    fn variables_at(&self, step: &Step) -> Option<&'p Visible<'a>> {
        let (index, variables) = self.variables?;
        matches!(step, Step::Global(global) if *global == index).then_some(variables)
    }

    /// The field of a value, if there is one, and whether the value is an optional one. `cost` is what looking costs.
    fn found(&mut self, operand: &Step, name: &str, cost: u64) -> Result<(Option<Value<'a>>, bool), EvalError> {
        if let Some(variables) = self.variables_at(operand) {
            self.meter.charge(1 + cost)?;
            return Ok((variables.get(name)?, false));
        }
        let operand = self.eval(operand)?;
        self.meter.charge(cost)?;
        Ok((present(&operand, name)?, matches!(operand, Value::Optional(_))))
    }

    fn field(&mut self, operand: &Step, name: &str, optional: bool) -> Outcome<'a> {
        // A field of what is no variable and no field of one is looked up in a value of its own.
        let own = !matches!(operand, Step::Global(_) | Step::Local(_) | Step::Field { .. });
        let (found, of_optional) = self.found(operand, name, 1 + u64::from(own))?;
        if optional || of_optional {
            return Ok(match found {
                Some(value @ Value::Optional(_)) => value,
                other => Value::Optional(other.map(Arc::new)),
            });
        }
        found.ok_or_else(|| EvalError::NoSuchKey(name.to_owned()))
    }

    /// `&&` and `||`: one side that decides makes up for an error of the other.
    fn logic(&mut self, left: &Step, right: &Step, decisive: bool) -> Outcome<'a> {
        let left = self.eval(left);
        match &left {
            Ok(Value::Bool(value)) if *value == decisive => return left,
            Err(error) if is_final(error) => return left,
            _ => {}
        }
        let right = self.eval(right);
        match (&left, &right) {
            (_, Ok(Value::Bool(value))) if *value == decisive => right,
            (_, Err(error)) if is_final(error) => right,
            (Err(_), _) => left,
            (Ok(Value::Bool(_)), Ok(Value::Bool(_)) | Err(_)) => right,
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    fn list(&mut self, elements: &[(Step, bool)]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for (step, optional) in elements {
            let value = self.eval(step)?;
            if *optional {
                values.extend(unwrapped(value)?);
            } else {
                values.push(value);
            }
        }
        self.meter.charge(LIST_CREATE)?;
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &[(Step, Step, bool)]) -> Outcome<'a> {
        let mut made = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = Key::new(&self.eval(key)?)?;
            let value = self.eval(value)?;
            let value = if *optional { unwrapped(value)? } else { Some(value) };
            if let Some(value) = value
                && made.insert(key.clone(), value).is_some()
            {
                return Err(EvalError::failed(format!("Failed with repeated key: {key}")));
            }
        }
        self.meter.charge(MAP_CREATE)?;
        Ok(Value::Map(Map::owned(made)))
    }

    fn message(&mut self, name: &Arc<str>, fields: &[(Arc<str>, Step, bool)]) -> Outcome<'a> {
        let mut made = BTreeMap::new();
        for (field, step, optional) in fields {
            let value = self.eval(step)?;
            let value = if *optional { unwrapped(value)? } else { Some(value) };
            if let Some(value) = value {
                made.insert(Arc::clone(field), value);
            }
        }
        self.meter.charge(MESSAGE_CREATE)?;
        Ok(Value::Message(Arc::new(Message { name: Arc::clone(name), fields: made })))
    }

    fn call(&mut self, overloads: &[&'static Overload], args: &[Step]) -> Outcome<'a> {
        let own = !matches!(args.first(), Some(Step::Global(_) | Step::Local(_) | Step::Field { .. }));
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.eval(arg)?);
        }
        // An index may be any whole number, whatever its type; the function looks at it.
        let is_index = overloads.first().is_some_and(|overload| overload.function.starts_with("_["));
        let looked_at = if is_index { 1 } else { values.len() };
        let fits = |overload: &&&Overload| {
            values.iter().zip(&overload.params).take(looked_at).all(|(value, ty)| value.fits(ty))
        };
        let Some(overload) = overloads.iter().find(fits) else { return Err(EvalError::NoSuchOverload) };
        let cost = if is_index { 1 + u64::from(own) } else { cost::of_call(overload.function, overload.id, &values) };
        self.meter.charge(cost)?;
        let result = (overload.call)(&mut self.meter, &values)?;
        self.meter.charge(cost::of_result(overload.function, &result))?;
        Ok(result)
    }

    /// Takes the value out of a variable, so that it can be changed in place.
    fn take(&mut self, slot: usize) -> Outcome<'a> {
        self.meter.charge(1)?;
        std::mem::replace(&mut self.locals[slot], Ok(Value::Null))
    }

    fn append(&mut self, slot: usize, item: &Step) -> Outcome<'a> {
        let item = self.eval(item)?;
        self.meter.charge(LIST_CREATE + 1)?;
        let Value::List(List::Owned { mut items, kind }) = self.take(slot)? else {
            return Err(EvalError::NoSuchOverload);
        };
        let copied = if Arc::strong_count(&items) > 1 { items.len() as u64 } else { 0 };
        self.meter.make(copied + 1)?;
        Arc::make_mut(&mut items).push(item);
        Ok(Value::List(List::Owned { items, kind }))
    }

    fn insert(&mut self, slot: usize, entry: [&Step; 2], overload: &Overload) -> Outcome<'a> {
        let key = self.eval(entry[0])?;
        let value = self.eval(entry[1])?;
        self.meter.charge(1)?;
        let Value::Map(Map::Owned(mut entries)) = self.take(slot)? else { return Err(EvalError::NoSuchOverload) };
        let map_key = Key::new(&key)?;
        if entries.contains_key(&map_key) {
            // The function words the error.
            return (overload.call)(&mut self.meter, &[Value::Map(Map::Owned(entries)), key, value]);
        }
        self.meter.make(1)?;
        Arc::make_mut(&mut entries).insert(map_key, value);
        Ok(Value::Map(Map::Owned(entries)))
    }

    fn fold(&mut self, fold: &FoldStep) -> Outcome<'a> {
        let range = self.eval(&fold.range)?;
        let init = self.eval(&fold.init);
        if let Err(error) = &init
            && is_final(error)
        {
            return init;
        }
        self.locals[fold.slot] = init;
        match &range {
            Value::List(list) => {
                for (index, item) in list.iter().enumerate() {
                    let index = Value::Int(index as i64);
                    if !self.round(fold, if fold.two { [Ok(index), item] } else { [item, Ok(Value::Null)] })? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let value = if fold.two {
                        map.get(&key).map(|value| value.unwrap_or(Value::Null))
                    } else {
                        Ok(Value::Null)
                    };
                    if !self.round(fold, [Ok(key), value])? {
                        break;
                    }
                }
            }
            _ => return Err(EvalError::NoSuchOverload),
        }
        let result = self.eval(&fold.result);
        self.locals[fold.slot] = Ok(Value::Null);
        result
    }

    /// One round of a loop; false if it was the last.
    fn round(&mut self, fold: &FoldStep, [first, second]: [Outcome<'a>; 2]) -> Result<bool, EvalError> {
        self.locals[fold.slot + 1] = first;
        if fold.two {
            self.locals[fold.slot + 2] = second;
        }
        match self.eval(&fold.condition)? {
            Value::Bool(true) => {}
            _ => return Ok(false),
        }
        let next = self.eval(&fold.step);
        if let Err(error) = &next
            && is_final(error)
        {
            return Err(error.clone());
        }
        self.locals[fold.slot] = next;
        Ok(true)
    }
}

/// The value that `name` selects, if there is one.
fn present<'a>(operand: &Value<'a>, name: &str) -> Result<Option<Value<'a>>, EvalError> {
    match operand {
        Value::Map(map) => map.field(name),
        Value::Message(message) => Ok(message.fields.get(name).cloned()),
        Value::Optional(None) => Ok(None),
        Value::Optional(Some(inner)) => present(inner, name),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// The value of an optional element or entry.
fn unwrapped(value: Value<'_>) -> Result<Option<Value<'_>>, EvalError> {
    match value {
        Value::Optional(inner) => Ok(inner.map(Arc::unwrap_or_clone)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

//! From the claims of a token to a user: what must hold of them, and which of them are what.

use std::collections::{BTreeMap, HashSet};

use cel::access::Condition;
use cel::{Bindings, Env, PER_CALL_LIMIT, Program, Type};
use serde_json::{Map, Value, json};

use super::configuration::{ClaimRule, ConfigurationError, Jwt, Mapping, UserRule, invalid};
use crate::access::identity::Identity;

/// What a mapping reads.
enum Source {
    Claim { name: String, prefix: String },
    Expression(Program),
}

enum ClaimCheck {
    Required { claim: String, value: String },
    Expression { program: Program, rule: String },
}

/// The compiled rules of an issuer.
pub(super) struct Claims {
    checks: Vec<ClaimCheck>,
    username: Source,
    groups: Option<Source>,
    uid: Option<Source>,
    extra: Vec<(String, Program)>,
    user_checks: Vec<(Condition, String)>,
}

/// The variable with the claims of a token.
const CLAIMS: &str = "claims";

fn compile(expression: &str, path: &str) -> Result<Program, ConfigurationError> {
    let environment = Env::new().variable(CLAIMS, Type::map(Type::String, Type::Dyn));
    environment.compile(expression).map_err(|err| invalid(path, err))
}

/// An expression that says yes or no.
fn condition(expression: &str, path: &str) -> Result<Program, ConfigurationError> {
    compile(expression, path)?.expect(&Type::Bool).map_err(|err| invalid(path, err))
}

impl Claims {
    pub(super) fn new(jwt: &Jwt, path: &str) -> Result<Self, ConfigurationError> {
        let mut seen = HashSet::new();
        let mut checks = Vec::new();
        for (index, rule) in jwt.claim_validation_rules.iter().enumerate() {
            checks.push(ClaimCheck::new(rule, &format!("{path}.claimValidationRules[{index}]"), &mut seen)?);
        }
        let mut seen = HashSet::new();
        let mut user_checks = Vec::new();
        for (index, rule) in jwt.user_validation_rules.iter().enumerate() {
            user_checks.push(user_check(rule, &format!("{path}.userValidationRules[{index}].expression"), &mut seen)?);
        }
        let mappings = &jwt.claim_mappings;
        let source = |mapping: &Mapping, field: &str| -> Result<Option<Source>, ConfigurationError> {
            if !mapping.claim.is_empty() {
                let prefix = mapping.prefix.clone().unwrap_or_default();
                return Ok(Some(Source::Claim { name: mapping.claim.clone(), prefix }));
            }
            if mapping.expression.is_empty() {
                return Ok(None);
            }
            let path = format!("{path}.claimMappings.{field}.expression");
            compile(&mapping.expression, &path).map(|program| Some(Source::Expression(program)))
        };
        let extra = mappings.extra.iter().enumerate().map(|(index, extra)| {
            let path = format!("{path}.claimMappings.extra[{index}].valueExpression");
            Ok((extra.key.clone(), compile(&extra.value_expression, &path)?))
        });
        let username = source(&mappings.username, "username")?;
        Ok(Self {
            checks,
            username: username.ok_or_else(|| invalid(path, "claimMappings.username is required"))?,
            groups: source(&mappings.groups, "groups")?,
            uid: source(&mappings.uid, "uid")?,
            extra: extra.collect::<Result<_, ConfigurationError>>()?,
            user_checks,
        })
    }

    /// Who the user is.
    pub(super) fn user(&self, claims: &Map<String, Value>) -> Result<Identity, String> {
        let claims = Value::Object(claims.clone());
        let user = self.username(&claims)?;
        let groups = match &self.groups {
            None => Vec::new(),
            Some(Source::Claim { name, prefix }) => {
                let listed = texts(claims.get(name).unwrap_or(&Value::Null));
                let listed = listed.map_err(|_| format!("oidc: parse groups claim {name:?}: not a list of strings"))?;
                listed.into_iter().map(|group| format!("{prefix}{group}")).collect()
            }
            Some(Source::Expression(program)) => {
                let listed = texts(&evaluate(program, &claims)?);
                listed
                    .map_err(|()| "oidc: error evaluating group claim expression: not a list of strings".to_owned())?
            }
        };
        let uid = match &self.uid {
            None => None,
            Some(Source::Claim { name, .. }) => {
                Some(claims[name].as_str().ok_or_else(|| format!("oidc: parse uid claim {name:?}"))?.to_owned())
            }
            Some(Source::Expression(program)) => {
                let uid = evaluate(program, &claims)?;
                let uid = uid.as_str().ok_or("oidc: error evaluating uid claim expression: not a string")?;
                Some(uid.to_owned())
            }
        };
        let mut extra = BTreeMap::new();
        for (key, program) in &self.extra {
            let values = texts(&evaluate(program, &claims)?);
            let values = values.map_err(|()| format!("oidc: value of extra {key:?} is not a list of strings"))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        for check in &self.checks {
            check.judge(&claims)?;
        }
        let identity = Identity { user, groups, uid: uid.filter(|uid| !uid.is_empty()), extra };
        self.check_user(&identity)?;
        Ok(identity)
    }

    fn username(&self, claims: &Value) -> Result<String, String> {
        let (name, prefix) = match &self.username {
            Source::Claim { name, prefix } => (name, prefix),
            Source::Expression(program) => {
                return match evaluate(program, claims)? {
                    Value::String(user) if !user.is_empty() => Ok(user),
                    _ => Err("oidc: error evaluating username claim expression: no name".to_owned()),
                };
            }
        };
        let user = claims[name].as_str().ok_or_else(|| format!("oidc: parse username claims {name:?}"))?;
        // An address that its owner has not confirmed is anybody's.
        if name == "email" && claims.get("email_verified").is_some_and(|verified| verified != true) {
            return Err("oidc: email not verified".to_owned());
        }
        Ok(format!("{prefix}{user}"))
    }

    fn check_user(&self, identity: &Identity) -> Result<(), String> {
        if self.user_checks.is_empty() {
            return Ok(());
        }
        let user = json!({
            "username": identity.user, "groups": identity.groups, "uid": identity.uid.clone().unwrap_or_default(),
            "extra": identity.extra,
        });
        for (condition, rule) in &self.user_checks {
            if !condition.holds(&user).map_err(|err| failed(&err))? {
                return Err(format!("oidc: error evaluating user info validation rule: {rule}"));
            }
        }
        Ok(())
    }
}

/// A rule about a user.
fn user_check<'a>(
    rule: &'a UserRule,
    path: &str,
    seen: &mut HashSet<&'a str>,
) -> Result<(Condition, String), ConfigurationError> {
    if rule.expression.is_empty() {
        return Err(invalid(path, "required value"));
    }
    if !seen.insert(&rule.expression) {
        return Err(invalid(path, "duplicate value"));
    }
    let condition = Condition::of_user(&rule.expression).map_err(|err| invalid(path, err))?;
    Ok((condition, told(&rule.message, &rule.expression)))
}

impl ClaimCheck {
    /// A rule is about one claim and its value, or an expression over all of them.
    fn new<'a>(
        rule: &'a ClaimRule,
        path: &str,
        seen: &mut HashSet<(&'a str, &'a str)>,
    ) -> Result<Self, ConfigurationError> {
        let wrong = |field: &str, why: &str| Err(invalid(format!("{path}{field}"), why));
        match (rule.claim.is_empty(), rule.expression.is_empty()) {
            (false, false) => wrong("", "claim and expression can't both be set"),
            (true, true) => wrong("", "claim or expression is required"),
            (false, true) if !rule.message.is_empty() => wrong(".message", "may not be specified when claim is set"),
            (true, false) if !rule.required_value.is_empty() => {
                wrong(".requiredValue", "may not be specified when expression is set")
            }
            (is_expression, _) if !seen.insert((&rule.claim, &rule.expression)) => {
                wrong(if is_expression { ".expression" } else { ".claim" }, "duplicate value")
            }
            (false, true) => Ok(Self::Required { claim: rule.claim.clone(), value: rule.required_value.clone() }),
            (true, false) => {
                let program = condition(&rule.expression, &format!("{path}.expression"))?;
                Ok(Self::Expression { program, rule: told(&rule.message, &rule.expression) })
            }
        }
    }

    fn judge(&self, claims: &Value) -> Result<(), String> {
        match self {
            Self::Required { claim, value } => match claims.get(claim) {
                None => Err(format!("oidc: required claim {claim} not present in ID token")),
                Some(found) if found.as_str() == Some(value) => Ok(()),
                Some(_) => Err(format!("oidc: required claim {claim} value does not match. Got another than {value}")),
            },
            Self::Expression { program, rule } if evaluate(program, claims)? != true => {
                Err(format!("oidc: error evaluating claim validation rule: {rule}"))
            }
            Self::Expression { .. } => Ok(()),
        }
    }
}

/// How a rule is told to who breaks it.
fn told(message: &str, expression: &str) -> String {
    match message {
        "" => format!("validation expression '{expression}' failed"),
        message => format!("validation expression '{expression}' failed: {message}"),
    }
}

fn evaluate(program: &Program, claims: &Value) -> Result<Value, String> {
    let bindings = Bindings::new().bind(CLAIMS, cel::Value::dynamic(claims));
    let evaluated = program.evaluate(&bindings, PER_CALL_LIMIT).result.and_then(|result| result.to_json());
    evaluated.map_err(|err| failed(&err))
}

fn failed(err: &cel::EvalError) -> String {
    format!("oidc: error evaluating an expression: {err}")
}

/// A text, or a list of texts; nothing is none, and empty ones are left out.
fn texts(value: &Value) -> Result<Vec<String>, ()> {
    let one = |value: &Value| value.as_str().map(str::to_owned).ok_or(());
    let all = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(one).collect::<Result<_, _>>()?,
        single => vec![one(single)?],
    };
    Ok(all.into_iter().filter(|text| !text.is_empty()).collect())
}

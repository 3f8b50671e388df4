//! Identifiers: sandboxes and containers are named by 64 random hexadecimal digits.

use std::fmt;

use base::Random;
use serde::{Deserialize, Serialize};

macro_rules! identifier {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(String);

        impl $name {
            /// A new one.
            pub(crate) fn generate(random: &Random) -> Self {
                Self(random_hex(random))
            }

            /// One that a directory or a record names; `None` if it is no identifier.
            pub(crate) fn parse(text: &str) -> Option<Self> {
                is_identifier(text).then(|| Self(text.to_owned()))
            }

            /// The digits.
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

identifier!(SandboxId, "Names a pod sandbox.");
identifier!(ContainerId, "Names a container.");

/// 256 random bits as hexadecimal digits.
pub(crate) fn random_hex(random: &Random) -> String {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    hex::encode(bytes)
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_safe_file_names() {
        let id = ContainerId::generate(&Random::seeded(1));
        assert_eq!(ContainerId::parse(id.as_str()), Some(id));
        assert_eq!(ContainerId::parse("../../etc"), None);
        assert_eq!(SandboxId::parse(""), None);
    }
}

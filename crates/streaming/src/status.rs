//! The last word of a remote command, on the error channel: a Kubernetes `Status`.

use serde_json::{Value, json};

/// It went well.
pub fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

/// How the command ended.
pub fn exited(cmd: &[String], exit_code: i32) -> Value {
    if exit_code == 0 {
        return success();
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!(
            "command terminated with non-zero exit code: error executing command [{}], exit code {exit_code}",
            cmd.join(" "),
        ),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": exit_code.to_string()}]},
    })
}

/// It did not come to run.
pub fn failed(message: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {message}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    })
}

/// What went wrong, if anything did, for clients that know no `Status`.
pub(super) fn failure(status: &Value) -> Option<&str> {
    (status["status"] != "Success").then(|| status["message"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_a_cause() {
        let cmd = ["sh".to_owned(), "-c".to_owned()];
        assert_eq!(exited(&cmd, 0)["status"], "Success");
        let failure = exited(&cmd, 3);
        assert_eq!(failure["reason"], "NonZeroExitCode");
        assert_eq!(failure["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    }
}

//! The signal that asks a container to end: the pod's wish, else the image's, else SIGTERM.

use cri::Signal;

/// SIGTERM.
const DEFAULT: i32 = 15;

/// What programs know as SIGRTMIN: the C libraries keep the first real-time signals for themselves.
const RTMIN: i32 = 34;

/// SIGRTMAX.
const RTMAX: i32 = 64;

/// Other names of signals.
const ALIASES: &[(&str, &str)] = &[("CLD", "CHLD"), ("IOT", "ABRT"), ("POLL", "IO")];

/// The number of the signal that stops a container.
pub(super) fn stop_signal(wanted: Signal, of_image: &str) -> i32 {
    let wanted = match wanted {
        Signal::RuntimeDefault => None,
        named => parse(&named.as_str_name().replace("PLUS", "+").replace("MINUS", "-")),
    };
    wanted.or_else(|| parse(of_image)).unwrap_or(DEFAULT)
}

/// CRI's name of a number.
pub(crate) fn name(number: i32) -> Signal {
    let all = (1..).map_while(|value| Signal::try_from(value).ok());
    all.filter(|signal| stop_signal(*signal, "") == number).max_by_key(|signal| !is_alias(*signal)).unwrap_or_default()
}

fn is_alias(signal: Signal) -> bool {
    ALIASES.iter().any(|(alias, _)| signal.as_str_name().strip_prefix("SIG") == Some(alias))
}

/// A signal's number from `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return Some(RTMIN + offset).filter(|number| *number <= RTMAX);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse().ok()? };
        return Some(RTMAX - offset).filter(|number| *number >= RTMIN);
    }
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        assert_eq!(parse("SIGTERM"), Some(15));
        assert_eq!(parse("quit"), Some(3));
        assert_eq!(parse("9"), Some(9));
        assert_eq!(parse("SIGRTMIN+3"), Some(37));
        assert_eq!(parse("SIGRTMAX-1"), Some(63));
        assert_eq!(parse("SIGCLD"), parse("SIGCHLD"));
        assert_eq!(parse("SIGNOTHING"), None);
        assert_eq!(parse("SIGRTMAX-40"), None);
        assert_eq!(parse("0"), None);
    }

    #[test]
    fn the_pods_wish_goes_before_the_images() {
        assert_eq!(stop_signal(Signal::Sigusr1, "SIGQUIT"), 10);
        assert_eq!(stop_signal(Signal::RuntimeDefault, "SIGQUIT"), 3);
        assert_eq!(stop_signal(Signal::RuntimeDefault, ""), 15);
        assert_eq!(stop_signal(Signal::Sigrtminplus3, ""), 37);
        assert_eq!(stop_signal(Signal::Sigrtmaxminus2, ""), 62);
    }

    #[test]
    fn numbers_have_names() {
        assert_eq!(name(15), Signal::Sigterm);
        assert_eq!(name(17), Signal::Sigchld);
        assert_eq!(name(37), Signal::Sigrtminplus3);
        for value in 1..=65 {
            let signal = Signal::try_from(value).expect("there are so many");
            assert_eq!(stop_signal(name(stop_signal(signal, "")), ""), stop_signal(signal, ""), "{signal:?}");
        }
    }
}

//! Addresses and address ranges.

use std::net::IpAddr;

use super::Row;
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Extension, Outcome, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("string_to_ip", "ip(string) -> net.IP", ip),
    ("ip_is_canonical", "ip.isCanonical(string) -> bool", is_canonical),
    ("ip_to_string", "string(net.IP) -> string", super::conversions::string),
    ("is_ip_string", "isIP(string) -> bool", is_ip),
    ("ip_family", "net.IP::family() -> int", family),
    ("ip_is_unspecified", "net.IP::isUnspecified() -> bool", is_unspecified),
    ("ip_is_loopback", "net.IP::isLoopback() -> bool", is_loopback),
    ("ip_is_link_local_multicast", "net.IP::isLinkLocalMulticast() -> bool", is_link_local_multicast),
    ("ip_is_link_local_unicast", "net.IP::isLinkLocalUnicast() -> bool", is_link_local_unicast),
    ("ip_is_global_unicast", "net.IP::isGlobalUnicast() -> bool", is_global_unicast),
    ("string_to_cidr", "cidr(string) -> net.CIDR", cidr),
    ("is_cidr", "isCIDR(string) -> bool", is_cidr),
    ("cidr_to_string", "string(net.CIDR) -> string", super::conversions::string),
    ("cidr_contains_ip_string", "net.CIDR::containsIP(string) -> bool", contains_ip),
    ("cidr_contains_ip_ip", "net.CIDR::containsIP(net.IP) -> bool", contains_ip),
    ("cidr_contains_cidr_string", "net.CIDR::containsCIDR(string) -> bool", contains_cidr),
    ("cidr_contains_cidr", "net.CIDR::containsCIDR(net.CIDR) -> bool", contains_cidr),
    ("cidr_ip", "net.CIDR::ip() -> net.IP", cidr_ip),
    ("cidr_prefix_length", "net.CIDR::prefixLength() -> int", prefix_length),
    ("cidr_masked", "net.CIDR::masked() -> net.CIDR", masked),
];

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    let quoted = api::field::quote(text);
    if let Some((_, zone)) = text.split_once('%')
        && !zone.is_empty()
    {
        return Err(EvalError::failed(format!("IP address {quoted} with zone value is not allowed")));
    }
    let address: IpAddr = text.parse().map_err(|_| {
        EvalError::failed(format!(
            "IP Address {quoted} parse error during conversion from string: ParseAddr({quoted}): unable to parse IP"
        ))
    })?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(EvalError::failed(format!("IPv4-mapped IPv6 address {quoted} is not allowed")));
    }
    Ok(address)
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), EvalError> {
    let quoted = api::field::quote(text);
    let wrong = |why: &str| {
        EvalError::failed(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({quoted}): {why}"
        ))
    };
    let (address, bits) = text.rsplit_once('/').ok_or_else(|| wrong("no '/'"))?;
    if address.contains('%') {
        return Err(wrong("IPv6 zones cannot be present in a prefix"));
    }
    let address: IpAddr = address.parse().map_err(|_| wrong("unable to parse IP"))?;
    let canonical = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let prefix = bits.parse().ok().filter(|_| canonical).ok_or_else(|| wrong("bad bits after slash"))?;
    if prefix > width(address) {
        return Err(wrong("prefix length out of range"));
    }
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(EvalError::failed(format!("IPv4-mapped IPv6 address {quoted} is not allowed")));
    }
    Ok((address, prefix))
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits of an address, with those cleared that are not the network's.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((v6.to_bits() & mask).to_be_bytes())
        }
    }
}

fn text<'v>(args: &'v [Value<'_>]) -> Result<&'v str, EvalError> {
    match args {
        [Value::String(text)] => Ok(text),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn ip<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::extension(Extension::Ip(parse_ip(text(args)?)?)))
}

fn is_ip<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(parse_ip(text(args)?).is_ok()))
}

fn is_canonical<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = text(args)?;
    Ok(Value::Bool(parse_ip(text)?.to_string() == text))
}

fn cidr<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (address, prefix) = parse_cidr(text(args)?)?;
    Ok(Value::extension(Extension::Cidr { address, prefix }))
}

fn is_cidr<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(parse_cidr(text(args)?).is_ok()))
}

/// An address, as such or as text.
fn address_of(value: &Value<'_>) -> Result<IpAddr, EvalError> {
    match value {
        Value::String(text) => parse_ip(text),
        Value::Extension(extension) => match **extension {
            Extension::Ip(address) => Ok(address),
            _ => Err(EvalError::NoSuchOverload),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// A range, as such or as text.
fn range_of(value: &Value<'_>) -> Result<(IpAddr, u8), EvalError> {
    match value {
        Value::String(text) => parse_cidr(text),
        Value::Extension(extension) => match **extension {
            Extension::Cidr { address, prefix } => Ok((address, prefix)),
            _ => Err(EvalError::NoSuchOverload),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// What a function of one address yields.
fn of_address<'a>(args: &[Value<'a>], of: fn(IpAddr) -> Value<'static>) -> Outcome<'a> {
    args.first().map_or(Err(EvalError::NoSuchOverload), |value| Ok(of(address_of(value)?)))
}

/// What a function of one range yields.
fn of_range<'a>(args: &[Value<'a>], of: fn(IpAddr, u8) -> Value<'static>) -> Outcome<'a> {
    let (address, prefix) = args.first().map_or(Err(EvalError::NoSuchOverload), range_of)?;
    Ok(of(address, prefix))
}

fn family<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_address(args, |address| Value::Int(if address.is_ipv4() { 4 } else { 6 }))
}

fn is_unspecified<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_address(args, |address| Value::Bool(address.is_unspecified()))
}

fn is_loopback<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_address(args, |address| Value::Bool(address.is_loopback()))
}

fn link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_address(args, |address| {
        Value::Bool(match address {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        })
    })
}

fn is_link_local_unicast<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_address(args, |address| Value::Bool(link_local_unicast(address)))
}

fn is_global_unicast<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_address(args, |address| {
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
        Value::Bool(!broadcast && !special && !link_local_unicast(address))
    })
}

fn contains_ip<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [range, other] = args else { return Err(EvalError::NoSuchOverload) };
    let ((address, prefix), other) = (range_of(range)?, address_of(other)?);
    let same_family = address.is_ipv4() == other.is_ipv4();
    Ok(Value::Bool(same_family && network(address, prefix) == network(other, prefix)))
}

fn contains_cidr<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [range, other] = args else { return Err(EvalError::NoSuchOverload) };
    let ((address, prefix), (other, other_prefix)) = (range_of(range)?, range_of(other)?);
    let fits = address.is_ipv4() == other.is_ipv4() && prefix <= other_prefix;
    Ok(Value::Bool(fits && network(address, prefix) == network(other, prefix)))
}

fn cidr_ip<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_range(args, |address, _| Value::extension(Extension::Ip(address)))
}

fn prefix_length<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_range(args, |_, prefix| Value::Int(i64::from(prefix)))
}

fn masked<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    of_range(args, |address, prefix| Value::extension(Extension::Cidr { address: network(address, prefix), prefix }))
}

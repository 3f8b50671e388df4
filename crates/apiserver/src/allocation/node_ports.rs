//! Ports on which nodes answer for a Service.

use std::collections::HashMap;

use api::field::{FieldError, Path};
use api::status::Status;
use base::Random;
use serde_json::{Value, json};

use super::fields::{
    health_check_port, is_given_node_ports, needs_health_check_port, needs_node_ports, node_port, node_ports, ports,
    ports_mut,
};
use super::{Held, Refused, invalid};

/// Takes the ports that `object` needs beyond those of `old`, and writes them into it.
pub(super) fn take(held: &mut Held, random: &Random, object: &mut Value, old: &Value) -> Result<(), Status> {
    let taker = Taker { random, path: Path::new("spec").child("ports") };
    if needs_node_ports(object) {
        match old.is_null() {
            true => taker.take_first(held, object)?,
            false => taker.take_more(held, object, old)?,
        }
    }
    let needed = !old.is_null() && needs_health_check_port(old);
    if needs_health_check_port(object) && !needed {
        let taken = match health_check_port(object) {
            Some(wanted) => {
                held.take_port(wanted).map_err(|refused| (format!("requested HealthCheck NodePort {wanted}"), refused))
            }
            None => match held.take_any_port(random) {
                Ok(port) => {
                    object["spec"]["healthCheckNodePort"] = port.into();
                    Ok(())
                }
                Err(refused) => Err(("a HealthCheck NodePort 0".to_owned(), refused)),
            },
        };
        taken.map_err(|(what, refused)| {
            Status::internal(format!("failed to allocate {what}: {}", words(held, refused)))
        })?;
    }
    Ok(())
}

struct Taker<'a> {
    random: &'a Random,
    path: Path,
}

impl Taker<'_> {
    /// A new Service: entries for one port number share a node port, whichever of them names it.
    fn take_first(&self, held: &mut Held, object: &mut Value) -> Result<(), Status> {
        let gives = is_given_node_ports(object);
        let name = api::meta::name(object).to_owned();
        let asked: Vec<(Value, Option<u16>)> =
            ports(object).iter().map(|port| (port["port"].clone(), node_port(port))).collect();
        let mut given: HashMap<String, u16> = HashMap::new();
        for (index, port) in ports_mut(object).iter_mut().enumerate() {
            let (number, own) = &asked[index];
            if own.is_none() && !gives {
                continue;
            }
            let key = number.to_string();
            match (given.get(&key).copied(), own) {
                (None, _) => {
                    let wanted = asked.iter().filter(|(other, _)| other == number).find_map(|(_, port)| *port);
                    let taken = match wanted {
                        Some(wanted) => self.take_named(held, &name, index, wanted)?,
                        None => self.take_any(held)?,
                    };
                    port["nodePort"] = taken.into();
                    given.insert(key, taken);
                }
                (Some(shared), None) => port["nodePort"] = shared.into(),
                (Some(shared), Some(own)) if shared == *own => {}
                (Some(_), Some(own)) => {
                    self.take_named(held, &name, index, *own)?;
                }
            }
        }
        Ok(())
    }

    /// A changed Service: what it has it may share among its ports.
    fn take_more(&self, held: &mut Held, object: &mut Value, old: &Value) -> Result<(), Status> {
        let gives = is_given_node_ports(object);
        let name = api::meta::name(object).to_owned();
        let mut mine = node_ports(old);
        let mut seen: Vec<(String, u16)> = Vec::new();
        for (index, port) in ports_mut(object).iter_mut().enumerate() {
            let number = match node_port(port) {
                None if !gives => continue,
                None => {
                    let taken = self.take_any(held)?;
                    port["nodePort"] = taken.into();
                    taken
                }
                Some(wanted) if mine.contains(&wanted) => wanted,
                Some(wanted) => self.take_named(held, &name, index, wanted)?,
            };
            mine.insert(number);
            let entry = (port["protocol"].as_str().unwrap_or("TCP").to_owned(), number);
            if seen.contains(&entry) {
                return Err(Status::unclassified(format!("duplicate nodePort: {{{} {}}}", entry.0, entry.1)));
            }
            seen.push(entry);
        }
        Ok(())
    }

    fn take_named(&self, held: &mut Held, name: &str, index: usize, wanted: u16) -> Result<u16, Status> {
        held.take_port(wanted).map_err(|refused| {
            let why = words(held, refused);
            let path = self.path.index(index).child("nodePort");
            invalid(name, vec![FieldError::invalid(&path, json!(wanted), why)])
        })?;
        Ok(wanted)
    }

    fn take_any(&self, held: &mut Held) -> Result<u16, Status> {
        held.take_any_port(self.random)
            .map_err(|refused| Status::internal(format!("failed to allocate a nodePort: {}", words(held, refused))))
    }
}

fn words(held: &Held, refused: Refused) -> String {
    match refused {
        Refused::Taken => "provided port is already allocated".to_owned(),
        Refused::Full => "range is full".to_owned(),
        Refused::NotInRange => {
            format!("provided port is not in the valid range. The range of valid ports is {}", held.port_range())
        }
    }
}

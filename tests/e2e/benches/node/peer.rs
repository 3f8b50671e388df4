//! What was measured, beside what the peer took.

/// Figures in the order in which they were measured.
#[derive(Default)]
pub struct Figures(Vec<Figure>);

struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    more_is_better: bool,
}

/// What the ratios are against.
const PEER: &str = "containerd+runc";

impl Figures {
    /// Notes a value of which less is better.
    pub fn cost(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.note(Figure { name, value, unit, more_is_better: false });
    }

    /// Notes a value of which more is better.
    pub fn rate(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.note(Figure { name, value, unit, more_is_better: true });
    }

    fn note(&mut self, figure: Figure) {
        // The figures come in the end; meanwhile this shows that it goes on.
        println!("measured: {} {:.1} {}", figure.name, figure.value, figure.unit);
        self.0.push(figure);
    }

    /// Prints each, with how many times better it is than the peer's where that was measured.
    pub fn print(&self, peer: &Self) {
        for Figure { name, value, unit, more_is_better } in &self.0 {
            let other = peer.0.iter().find(|other| other.name == *name).map(|other| other.value);
            let ratio = other.map(|other| if *more_is_better { value / other } else { other / value });
            match ratio {
                Some(ratio) => println!("bench: node.{name} {value:.1} {unit} {ratio:.2} vs {PEER}"),
                None => println!("bench: node.{name} {value:.1} {unit}"),
            }
        }
    }
}

/// The value below which this part of the sorted values lies.
pub fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

//! Medians and spread.

/// Quartiles of some figures.
#[derive(Clone, Copy)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// None without figures.
pub fn spread(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * (figures.len() - 1) as f64;
        let (low, high) = (figures[place.floor() as usize], figures[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    (!figures.is_empty()).then(|| Spread { low: at(0.25), median: at(0.5), high: at(0.75) })
}

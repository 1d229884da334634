//! What is said of a row of measured values.

/// The value that as many are below as above.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The least value that a share of the values does not exceed; not a number if there is none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Of each round, so many yardsticks.
pub fn ratios(ours: &[f64], yardstick: &[f64]) -> Vec<f64> {
    let rounds = ours.iter().zip(yardstick);
    rounds.map(|(ours, yardstick)| ours / yardstick).collect()
}

/// The least and the greatest.
pub fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(median(&values), 50.0);
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&values, 1.0), 100.0);
        assert_eq!(range(&values), (1.0, 100.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }
}

//! Shares by weight.

/// Shares are laid end to end and asked one after another, by their weights, whether a point falls into them.
pub(crate) fn at_point(mut point: u64) -> impl FnMut(u32) -> bool {
    move |weight| {
        let here = point < u64::from(weight);
        point = point.saturating_sub(u64::from(weight));
        here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_share_has_as_many_points_as_it_weighs() {
        let weights = [1, 0, 3];
        let shares = (0..5).map(|point| {
            let mut here = at_point(point);
            weights.iter().position(|weight| here(*weight))
        });
        assert_eq!(shares.collect::<Vec<_>>(), [Some(0), Some(2), Some(2), Some(2), None]);
    }
}

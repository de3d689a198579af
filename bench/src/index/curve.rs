//! Recall-QPS curves: what an index finds and how fast, by its width of search.

/// One width of search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) ef: usize,
    /// Mean share of the ten nearest that were found.
    pub(crate) recall: f64,
    /// Queries a second, of one thread.
    pub(crate) qps: f64,
}

/// Returns the QPS at a recall, between the points on either side on a line
/// through the logarithm of QPS; `None` where the curve does not get there.
pub(crate) fn qps_at(points: &[Point], recall: f64) -> Option<f64> {
    let above = points.iter().position(|point| point.recall >= recall)?;
    let Some(before) = above.checked_sub(1) else { return Some(points[above].qps) };
    let (low, high) = (points[before], points[above]);
    let way = (recall - low.recall) / (high.recall - low.recall);
    Some((low.qps.ln() + way * (high.qps.ln() - low.qps.ln())).exp())
}

/// Returns the least width tried that reaches a recall.
pub(crate) fn ef_at(points: &[Point], recall: f64) -> Option<usize> {
    points.iter().find(|point| point.recall >= recall).map(|point| point.ef)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_between_points() {
        let points = [(16, 0.9, 8000.0), (32, 0.96, 4000.0), (64, 0.98, 2000.0)]
            .map(|(ef, recall, qps)| Point { ef, recall, qps });
        assert_eq!(qps_at(&points, 0.5), Some(8000.0));
        let between = qps_at(&points, 0.93).unwrap();
        assert!((between - 8000.0 / 2.0_f64.sqrt()).abs() < 1.0, "{between}");
        assert_eq!(qps_at(&points, 0.99), None);
        assert_eq!(ef_at(&points, 0.97), Some(64));
    }
}

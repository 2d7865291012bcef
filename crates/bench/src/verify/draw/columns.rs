//! Lines of a timeline, brought down to the columns of a picture.

use super::Line;

/// What a column of the picture shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Column {
    /// Milliseconds since the picture's first line.
    pub(super) at_ms: f64,
    pub(super) deliveries_per_second: f64,
    /// `None` where nothing was acknowledged.
    pub(super) publish_p99_ms: Option<f64>,
    /// The longest that a publish took or had waited; `None` where nobody waited.
    pub(super) wait_ms: Option<f64>,
    /// The fewest.
    pub(super) live: u64,
    pub(super) redials: u64,
}

/// Lines are put together until there are at most `columns_max`. The first line only says when the others
/// begin. Lines whose time does not move on (a clock that was set back) are left out.
pub(super) fn columns(lines: &[Line], columns_max: usize) -> Vec<Column> {
    let Some((first, rest)) = lines.split_first() else {
        return Vec::new();
    };
    let mut before_ms = first.at_ms;
    let together = rest.len().div_ceil(columns_max.max(1)).max(1);
    let mut columns = Vec::with_capacity(columns_max);
    for lines in rest.chunks(together) {
        let at_ms = lines.last().map_or(before_ms, |line| line.at_ms);
        if at_ms <= before_ms {
            continue;
        }
        let seconds = (at_ms - before_ms) as f64 / 1_000.0;
        let deliveries: u64 = lines.iter().map(|line| line.deliveries).sum();
        let worst = |of: fn(&Line) -> f64| lines.iter().map(of).reduce(f64::max);
        let some = |ms: Option<f64>| ms.filter(|ms| *ms > 0.0);
        columns.push(Column {
            at_ms: (at_ms - first.at_ms) as f64,
            deliveries_per_second: deliveries as f64 / seconds,
            publish_p99_ms: some(worst(|line| line.publish_p99_ms)),
            wait_ms: some(worst(|line| line.publish_max_ms.max(line.waiting_ms))),
            live: lines.iter().map(|line| line.live).min().unwrap_or(0),
            redials: lines.iter().map(|line| line.redials).sum(),
        });
        before_ms = at_ms;
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, deliveries: u64, live: u64, publish_max_ms: f64) -> Line {
        Line { at_ms, deliveries, live, publish_max_ms, ..Line::default() }
    }

    #[test]
    fn a_column_shows_the_worst_of_its_lines_and_the_rate_of_their_time() {
        let lines = [
            line(1_000, 99, 9, 99.0),
            line(1_100, 10, 5, 1.0),
            line(1_200, 30, 2, 7.0),
            line(1_400, 20, 5, 0.0),
            line(1_500, 0, 5, 0.0),
        ];
        let columns = columns(&lines, 2);
        assert_eq!(columns.len(), 2);
        assert_eq!((columns[0].at_ms, columns[0].deliveries_per_second), (200.0, 200.0));
        assert_eq!((columns[0].live, columns[0].wait_ms), (2, Some(7.0)));
        assert!((columns[1].deliveries_per_second - 66.7).abs() < 0.1);
        assert_eq!(columns[1].wait_ms, None, "nobody waited");
    }

    #[test]
    fn a_clock_that_is_set_back_draws_nothing_backwards() {
        let lines = [line(1_000, 0, 1, 1.0), line(900, 5, 1, 1.0), line(1_100, 5, 1, 1.0)];
        let columns = columns(&lines, 100);
        assert_eq!(columns.iter().map(|column| column.at_ms).collect::<Vec<_>>(), [100.0]);
    }
}

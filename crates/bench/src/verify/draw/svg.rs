//! The picture as SVG text: no library writes these few shapes better than a format string.

use std::fmt::{self, Write};

use super::columns::{Column, columns};
use super::scale::{Scale, step};
use super::{EventMark, Line};
use crate::table::thousands;

const WIDTH: f64 = 960.0;
/// The plots' left and right edge.
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 20.0;
/// One column a pixel: finer cannot be seen.
const COLUMNS_MAX: usize = (RIGHT - LEFT) as usize;
const PANEL_HEIGHT: f64 = 120.0;
/// Between two panels: the next one's title.
const PANEL_GAP: f64 = 34.0;
/// A line of words above the panels.
const LABEL_HEIGHT: f64 = 16.0;
/// Lines of words; beyond, an event is a line without words.
const LABEL_ROWS_MAX: usize = 8;
/// Letters of an event's words.
const LABEL_LETTERS_MAX: usize = 48;
/// A letter's width, as good as it can be known here.
const LETTER_WIDTH: f64 = 6.6;

/// Its own ground, so that it can be read wherever it is shown; plain rules without variables, which many
/// programs that show pictures do not know.
const STYLE: &str = "
  text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #1f2937 }
  path { fill: none; stroke-width: 1.5; stroke-linejoin: round }
  .ground { fill: #ffffff } .grid { stroke: #e5e7eb; stroke-width: 1 }
  .tick { font-size: 11px; fill: #6b7280 } .y { text-anchor: end } .x { text-anchor: middle }
  .event { stroke: #6b7280; stroke-width: 1; stroke-dasharray: 3 3 }
  .area { fill: #1d4ed8; fill-opacity: .18 }
  .blue { stroke: #1d4ed8 } .red { stroke: #c2410c } .green { stroke: #0f766e } .violet { stroke: #6d28d9 }
  tspan { stroke: none } tspan.blue { fill: #1d4ed8; stroke: none } tspan.red { fill: #c2410c; stroke: none }
  tspan.green { fill: #0f766e; stroke: none } tspan.violet { fill: #6d28d9; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #f3f4f6 } .ground { fill: #111827 } .grid { stroke: #374151 } .tick { fill: #9ca3af }
    .event { stroke: #9ca3af } .area { fill: #60a5fa }
    .blue { stroke: #60a5fa } .red { stroke: #fb923c } .green { stroke: #2dd4bf } .violet { stroke: #a78bfa }
    tspan.blue { fill: #60a5fa } tspan.red { fill: #fb923c } tspan.green { fill: #2dd4bf }
    tspan.violet { fill: #a78bfa }
  }";

/// Everything that is drawn.
pub(super) struct Picture {
    columns: Vec<Column>,
    /// Milliseconds from the first line to the last.
    span_ms: f64,
    labels: Vec<Label>,
    /// The first panel's top.
    top: f64,
}

/// An event's line, and the row of its words.
struct Label {
    x: f64,
    words: String,
    row: Option<usize>,
    /// Whether the words stand left of the line.
    leftwards: bool,
}

impl Picture {
    pub(super) fn new(lines: &[Line], events: &[EventMark]) -> Picture {
        let columns = columns(lines, COLUMNS_MAX);
        let span_ms = columns.last().map_or(1.0, |column| column.at_ms).max(1.0);
        let start_ms = lines.first().map_or(0, |line| line.at_ms);
        let mut marks: Vec<(f64, &str)> = events
            .iter()
            .filter_map(|event| Some((event.at_ms.checked_sub(start_ms)? as f64, &*event.what)))
            .filter(|(at_ms, _)| *at_ms <= span_ms)
            .collect();
        marks.sort_by(|one, other| one.0.total_cmp(&other.0));
        let labels = place_labels(&marks, span_ms);
        let rows = labels.iter().filter_map(|label| label.row).max().map_or(0, |row| row + 1);
        let top = 30.0 + rows as f64 * LABEL_HEIGHT;
        Picture { columns, span_ms, labels, top }
    }

    fn x(&self, at_ms: f64) -> f64 {
        LEFT + at_ms / self.span_ms * (RIGHT - LEFT)
    }

    fn panel_top(&self, nth: usize) -> f64 {
        self.top + nth as f64 * (PANEL_HEIGHT + PANEL_GAP)
    }

    fn bottom(&self) -> f64 {
        self.panel_top(2) + PANEL_HEIGHT
    }

    /// A panel's title and the lines of its axis.
    fn panel(
        &self,
        out: &mut String,
        nth: usize,
        title: &str,
        scale: Scale,
        name: fn(f64) -> String,
    ) -> fmt::Result {
        let top = self.panel_top(nth);
        writeln!(out, r#"<text x="{LEFT}" y="{:.1}">{title}</text>"#, top - 9.0)?;
        for tick in scale.ticks() {
            let y = y(top, scale, tick);
            writeln!(out, r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/>"#)?;
            let (x, y) = (LEFT - 8.0, y + 4.0);
            writeln!(out, r#"<text class="tick y" x="{x}" y="{y:.1}">{}</text>"#, name(tick))?;
        }
        Ok(())
    }

    /// A line through what is there; broken where nothing is.
    fn curve(
        &self,
        out: &mut String,
        nth: usize,
        class: &str,
        scale: Scale,
        value: impl Fn(&Column) -> Option<f64>,
    ) -> fmt::Result {
        let top = self.panel_top(nth);
        let (mut path, mut pen) = (String::new(), 'M');
        for column in &self.columns {
            match value(column) {
                Some(value) => {
                    let (x, y) = (self.x(column.at_ms), y(top, scale, value));
                    // A point with nothing beside it would not be seen without the dot.
                    let dot = if pen == 'M' { "h.1" } else { "" };
                    write!(path, "{pen}{x:.1} {y:.1}{dot}")?;
                    pen = 'L';
                }
                None => pen = 'M',
            }
        }
        writeln!(out, r#"<path class="{class}" d="{path}"/>"#)
    }

    fn deliveries(&self, out: &mut String) -> fmt::Result {
        let of = |column: &Column| column.deliveries_per_second;
        let scale = Scale::linear(self.columns.iter().map(of).fold(0.0, f64::max));
        let title = r#"<tspan class="blue">deliveries per second</tspan>"#;
        self.panel(out, 0, title, scale, |tick| thousands(tick as u64))?;
        let floor = self.panel_top(0) + PANEL_HEIGHT;
        if let (Some(first), Some(last)) = (self.columns.first(), self.columns.last()) {
            let mut path = format!("M{:.1} {floor:.1}", self.x(first.at_ms));
            for column in &self.columns {
                let y = y(self.panel_top(0), scale, of(column));
                write!(path, "L{:.1} {y:.1}", self.x(column.at_ms))?;
            }
            write!(path, "L{:.1} {floor:.1}Z", self.x(last.at_ms))?;
            writeln!(out, r#"<path class="area" d="{path}"/>"#)?;
        }
        self.curve(out, 0, "blue", scale, |column| Some(of(column)))
    }

    fn latency(&self, out: &mut String) -> fmt::Result {
        let values = self.columns.iter().flat_map(|c| [c.publish_p99_ms, c.wait_ms]).flatten();
        let (least, most) = values
            .fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        let scale = Scale::log(least.min(1.0), most);
        let title = "publish: <tspan class=\"red\">longest wait</tspan>, \
                     <tspan class=\"green\">99 of 100 within</tspan> (logarithmic)";
        self.panel(out, 1, title, scale, duration)?;
        self.curve(out, 1, "red", scale, |column| column.wait_ms)?;
        self.curve(out, 1, "green", scale, |column| column.publish_p99_ms)
    }

    fn sockets(&self, out: &mut String) -> fmt::Result {
        let most = self.columns.iter().map(|column| column.live).max().unwrap_or(0);
        let redials: u64 = self.columns.iter().map(|column| column.redials).sum();
        let scale = Scale::linear(most as f64);
        let title = format!(
            "<tspan class=\"violet\">live sockets</tspan> ({} redials)",
            thousands(redials)
        );
        self.panel(out, 2, &title, scale, |tick| match tick.fract() == 0.0 {
            true => thousands(tick as u64),
            false => String::new(),
        })?;
        self.curve(out, 2, "violet", scale, |column| Some(column.live as f64))
    }

    fn time(&self, out: &mut String) -> fmt::Result {
        let step_ms = time_step_ms(self.span_ms / 10.0);
        let (mut at_ms, y) = (0.0, self.bottom() + 18.0);
        while at_ms <= self.span_ms {
            let (x, name) = (self.x(at_ms), clock(at_ms, self.span_ms));
            writeln!(out, r#"<text class="tick x" x="{x:.1}" y="{y:.1}">{name}</text>"#)?;
            at_ms += step_ms;
        }
        Ok(())
    }

    fn events(&self, out: &mut String) -> fmt::Result {
        for label in &self.labels {
            let row = label.row.unwrap_or(0) as f64;
            let (x, from) = (label.x, 8.0 + row * LABEL_HEIGHT);
            let to = self.bottom();
            writeln!(out, r#"<path class="event" d="M{x:.1} {from:.1}V{to:.1}"/>"#)?;
            if label.row.is_some() {
                let (side, x) = if label.leftwards { ("end", x - 4.0) } else { ("start", x + 4.0) };
                let (y, words) = (from + 9.0, escape(&label.words));
                writeln!(
                    out,
                    r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{side}">{words}</text>"#
                )?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self.bottom() + 30.0;
        let mut out = String::new();
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}" role="img" aria-label="Deliveries, publish latency and live sockets over time">"#
        )?;
        writeln!(out, "<style>{STYLE}\n</style>")?;
        writeln!(out, r#"<rect class="ground" width="{WIDTH}" height="{height:.0}" rx="8"/>"#)?;
        self.deliveries(&mut out)?;
        self.latency(&mut out)?;
        self.sockets(&mut out)?;
        self.time(&mut out)?;
        self.events(&mut out)?;
        out.push_str("</svg>\n");
        f.write_str(&out)
    }
}

fn y(top: f64, scale: Scale, value: f64) -> f64 {
    top + PANEL_HEIGHT * (1.0 - scale.place(value))
}

/// Each in the first row where it does not cover another one's words.
fn place_labels(marks: &[(f64, &str)], span_ms: f64) -> Vec<Label> {
    let mut ends = [f64::MIN; LABEL_ROWS_MAX];
    let place = |(at_ms, what): &(f64, &str)| {
        let x = LEFT + at_ms / span_ms * (RIGHT - LEFT);
        let mut words: String = what.chars().take(LABEL_LETTERS_MAX).collect();
        if words.len() < what.len() {
            words.push('…');
        }
        let width = words.chars().count() as f64 * LETTER_WIDTH + 10.0;
        let leftwards = x + width > WIDTH;
        let (from, to) = if leftwards { (x - width, x) } else { (x, x + width) };
        let row = ends.iter().position(|end| *end <= from);
        if let Some(row) = row {
            ends[row] = to;
        }
        Label { x, words, row, leftwards }
    };
    marks.iter().map(place).collect()
}

/// A round number of milliseconds, seconds or minutes.
fn time_step_ms(least_ms: f64) -> f64 {
    const MINUTES: f64 = 60_000.0;
    let rounds = [15_000.0, 30_000.0, MINUTES, 2.0 * MINUTES, 5.0 * MINUTES, 10.0 * MINUTES];
    match least_ms <= 10_000.0 {
        true => step(least_ms),
        false => {
            let round = rounds.into_iter().find(|round| *round >= least_ms);
            round.unwrap_or_else(|| step(least_ms / MINUTES) * MINUTES)
        }
    }
}

/// A time since the start: seconds, or minutes and seconds in a long run.
fn clock(at_ms: f64, span_ms: f64) -> String {
    let seconds = at_ms / 1_000.0;
    match span_ms > 120_000.0 {
        true => format!("{}:{:02}", seconds as u64 / 60, seconds as u64 % 60),
        false => format!("{} s", (seconds * 10.0).round() / 10.0),
    }
}

fn duration(ms: f64) -> String {
    match ms >= 999.0 {
        true => format!("{} s", (ms / 1_000.0).round()),
        false => format!("{} ms", (ms * 100.0).round() / 100.0),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Vec<Line> {
        (0..300_u64)
            .map(|nth| Line {
                at_ms: 1_000_000 + nth * 100,
                deliveries: if (100..120).contains(&nth) { 0 } else { 1_000 },
                acks: 10,
                publish_max_ms: if nth == 120 { 2_000.0 } else { 3.0 },
                publish_p99_ms: if (100..120).contains(&nth) { 0.0 } else { 2.0 },
                waiting_ms: if (100..120).contains(&nth) { (nth - 99) as f64 * 100.0 } else { 0.0 },
                live: if nth == 100 { 0 } else { 50 },
                redials: u64::from(nth == 101) * 50,
            })
            .collect()
    }

    fn event(at_ms: u64, what: &str) -> EventMark {
        EventMark { at_ms, what: what.to_owned() }
    }

    #[test]
    fn a_picture_has_three_panels_and_a_line_for_each_event_of_its_time() {
        let events = [
            event(1_010_000, "kill -9 <node> & co"),
            event(1_010_100, "it is back"),
            event(5, "long before"),
            event(9_999_999, "long after"),
        ];
        let picture = Picture::new(&run(), &events).to_string();
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        for words in ["deliveries per second", "longest wait", "live sockets", "(50 redials)"] {
            assert!(picture.contains(words), "{words}");
        }
        assert_eq!(picture.matches(r#"class="event""#).count(), 2);
        assert!(picture.contains("kill -9 &lt;node&gt; &amp; co</text>"));
        assert!(!picture.contains("long "), "what happened at other times is not drawn");
        assert!(picture.contains("prefers-color-scheme: dark"));
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
        assert_eq!(picture.matches('<').count(), picture.matches('>').count());
    }

    #[test]
    fn the_words_of_events_do_not_cover_each_other() {
        let marks: Vec<_> =
            (0..30).map(|nth| (f64::from(nth) * 100.0, "twenty letters wide!")).collect();
        let labels = place_labels(&marks, 30_000.0);
        for (nth, one) in labels.iter().enumerate() {
            for other in &labels[nth + 1..] {
                let apart = other.x - one.x >= 20.0 * LETTER_WIDTH;
                assert!(one.row.is_none() || one.row != other.row || apart);
            }
        }
        assert!(labels[LABEL_ROWS_MAX].row.is_none(), "there are not more rows");
        let last = place_labels(&[(30_000.0, "at the very end")], 30_000.0);
        assert!(last[0].leftwards);
    }

    #[test]
    fn a_curve_breaks_where_nothing_was_acknowledged() {
        let picture = Picture::new(&run(), &[]).to_string();
        let green = picture.lines().find(|line| line.contains(r#"<path class="green""#));
        assert_eq!(green.expect("a curve").matches('M').count(), 2);
        let red = picture.lines().find(|line| line.contains(r#"<path class="red""#));
        assert_eq!(red.expect("a curve").matches('M').count(), 1, "somebody waited meanwhile");
    }

    #[test]
    fn times_are_named_in_round_steps() {
        assert_eq!(time_step_ms(3_000.0), 5_000.0);
        assert_eq!(time_step_ms(12_000.0), 15_000.0);
        assert_eq!(time_step_ms(360_000.0), 600_000.0);
        assert_eq!(time_step_ms(3_000_000.0), 3_000_000.0);
        assert_eq!((&*clock(65_000.0, 300_000.0), &*clock(2_500.0, 9_000.0)), ("1:05", "2.5 s"));
        assert_eq!((&*duration(0.1), &*duration(1_000.0)), ("0.1 ms", "1 s"));
    }
}

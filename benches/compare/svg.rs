//! The picture: CPU time per request as bars, readable on light and dark pages.

use crate::report::Results;
use crate::rounds::Sample;
use crate::tables::{MEASURE, ratio};
use std::fmt::Write;

const LEFT: f64 = 150.0;
const WIDTH: f64 = 560.0;
/// A ratio at the right edge; longer bars are cut there and say their figure.
const MOST: f64 = 2.5;
const BAR: f64 = 11.0;
const GAP: f64 = 14.0;
const TOP: f64 = 58.0;
/// In the order of the report, without nginx; from a palette that the colour-blind can tell apart.
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999999"];

pub fn cpu(results: &Results) -> String {
    let others: Vec<&str> = results.contenders().into_iter().filter(|name| *name != MEASURE).collect();
    let mut body = legend(&others);
    let mut y = TOP;
    for (case, samples) in &results.outcomes {
        let bars: Vec<_> = others
            .iter()
            .enumerate()
            .filter_map(|(index, name)| Some((index, ratio(samples, name, Sample::cpu_per_request)?)))
            .collect();
        let middle = y + bars.len() as f64 * BAR / 2.0 + 4.0;
        let _ =
            writeln!(body, r#"<text x="{}" y="{middle}" text-anchor="end">{}</text>"#, LEFT - 8.0, case.name);
        for (index, spread) in bars {
            let length = spread.median.min(MOST) / MOST * WIDTH;
            let _ = writeln!(
                body,
                r#"<rect x="{LEFT}" y="{y}" width="{length:.1}" height="{}" fill="{}"/>"#,
                BAR - 1.5,
                COLOURS[index % COLOURS.len()]
            );
            let _ = writeln!(
                body,
                r#"<text class="n" x="{:.1}" y="{:.1}">{:.2}</text>"#,
                LEFT + length + 4.0,
                y + BAR - 2.5,
                spread.median
            );
            y += BAR;
        }
        y += GAP;
    }
    let one = LEFT + WIDTH / MOST;
    let _ = writeln!(body, r#"<line x1="{one}" y1="{}" x2="{one}" y2="{y}"/>"#, TOP - 6.0);
    let _ = writeln!(
        body,
        r#"<text class="n" x="{one}" y="{}" text-anchor="middle">{MEASURE} = 1</text>"#,
        TOP - 10.0
    );
    let (width, height) = (LEFT + WIDTH + 50.0, y + 6.0);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"
height="{height}" role="img">
<title>CPU time per request as a ratio to {MEASURE}; shorter is better</title>
<style>
text {{ font: 12px sans-serif; fill: #1f2328 }} .n {{ font-size: 9px }}
line {{ stroke: #1f2328; stroke-dasharray: 3 3 }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} line {{ stroke: #e6edf3 }} }}
</style>
{body}</svg>
"#
    )
}

fn legend(others: &[&str]) -> String {
    let mut text = format!(
        "<text x=\"{LEFT}\" y=\"16\">CPU time per request, ratio to {MEASURE} in the same round; \
         shorter is better</text>\n"
    );
    for (index, name) in others.iter().enumerate() {
        let x = LEFT + index as f64 * 82.0;
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(text, r#"<rect x="{x}" y="24" width="9" height="9" fill="{colour}"/>"#);
        let _ = writeln!(text, r#"<text x="{}" y="33">{name}</text>"#, x + 13.0);
    }
    text
}

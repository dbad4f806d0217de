//! How the pages look: readable in light and dark, on a phone, at 400 %, and in forced colours.

/// The style; `COLOUR` is what the configuration says.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f3f5f7;--card:#fff;--text:#1b1f23;--soft:#495057;--edge:#868e96;font:100%/1.5 system-ui,sans-serif}\
@media(prefers-color-scheme:dark){:root{--ground:#121517;--card:#1e2327;--text:#eceff1;--soft:#b6bec5;--edge:#868e96}\
.action{box-shadow:0 0 0 1px var(--edge)}header img{padding:.5rem;border-radius:.375rem;background:#fff}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;padding:0 1rem;display:flex;flex-direction:column;align-items:center;\
background:var(--ground);color:var(--text)}\
header,main,footer{width:100%;max-width:32rem}\
header,footer{padding:1rem 0}\
header p{margin:.5rem 0 0;font-weight:600}\
header img{display:block;max-width:100%;max-height:4rem}\
main{padding:1.5rem;background:var(--card);border:1px solid var(--edge);border-radius:.5rem}\
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}\
ul{list-style:none;margin:0;padding:0}\
p,li{margin:0 0 1rem;overflow-wrap:anywhere}\
main>:last-child,li:last-child,footer p{margin-bottom:0}\
.action{display:block;width:100%;min-height:2.75rem;padding:.625rem 1rem;border:0;border-radius:.375rem;\
background:COLOUR;color:#fff;font:inherit;font-weight:600;text-align:center;text-decoration:none;cursor:pointer}\
.second{padding:.5625rem 1rem;border:1px solid var(--edge);background:transparent;color:inherit;box-shadow:none}\
.out a{display:inline-block;padding:.5rem 0;color:inherit}\
label{display:block;font-weight:600}\
select,textarea,input{display:block;width:100%;min-height:2.75rem;padding:.5rem;border:1px solid var(--edge);border-radius:.375rem;\
background:var(--card);color:var(--text);font:inherit}\
.hint{color:var(--soft);font-size:.875rem}\
a:focus-visible,button:focus-visible,select:focus-visible,textarea:focus-visible,input:focus-visible{outline:3px solid var(--text);outline-offset:3px}\
h2{margin:1.5rem 0 .75rem;font-size:1.125rem;line-height:1.25}\
form+.out,ul+.out{margin-top:1rem}\
dl{margin:0 0 1rem;border-top:1px solid var(--edge)}\
dl div{padding:.5rem 0;border-bottom:1px solid var(--edge);overflow:hidden;overflow-wrap:anywhere}\
dt,.remark{color:var(--soft)}\
dt{font-size:.875rem}\
dd{margin:0;font-weight:600}\
.remark{font-weight:400;font-style:italic}\
.code{font:700 2.25rem/1.25 ui-monospace,monospace;letter-spacing:.1em;text-align:center}\
.action:hover{text-decoration:underline}\
footer{font-size:.875rem;color:var(--soft)}\
code{font-family:ui-monospace,monospace}\
@media(min-width:34rem){body{justify-content:center}}\
@media(forced-colors:active){.action{border:1px solid}}";

// Equations: arithmatex leaves them as \(…\) and \[…\], KaTeX draws them, on every page that is opened.
document$.subscribe(({ body }) =>
  renderMathInElement(body, {
    delimiters: [
      { left: "\\[", right: "\\]", display: true },
      { left: "\\(", right: "\\)", display: false },
    ],
    throwOnError: false,
  })
);

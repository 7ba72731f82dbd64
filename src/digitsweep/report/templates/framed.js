// In the MLflow UI this page lies in a sandboxed frame, where a browser refuses to follow a link to a part of the page.
if (window.self !== window.top) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    const part = link && document.getElementById(link.getAttribute("href").slice(1));
    if (part) {
      event.preventDefault();
      part.scrollIntoView();
    }
  });
}

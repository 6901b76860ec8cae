// The way in: one page, drawn into one element.

import { render } from "preact";

import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/controls.css";
import "./style/panels.css";
import "./style/pipelines.css";

import { App } from "./app";
import { PageProvider } from "./state/page";

const element = document.getElementById("page");
if (!element) throw new Error("index.html has the element #page");
element.replaceChildren();
render(
  <PageProvider>
    <App />
  </PageProvider>,
  element,
);

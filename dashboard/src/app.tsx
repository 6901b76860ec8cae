// The frame around the views: name, navigation, theme, and the question for a token.

import { isReport } from "./api/client";
import { usePage } from "./state/page";
import { useTheme, type Theme } from "./state/theme";
import type { View } from "./state/url";
import { Icon } from "./parts/icon";
import { Nothing, ProblemBox } from "./parts/notice";
import { PageLink } from "./parts/link";
import { TokenDialog } from "./parts/token";
import { LiveView } from "./live/view";
import { PipelinesView } from "./pipelines/view";
import { TrafficView } from "./traffic/view";

const NAMES: Record<View, string> = { traffic: "Traffic", live: "Live", pipelines: "Pipelines" };

export function App() {
  return (
    <>
      <a class="skip" href="#main">
        Skip to content
      </a>
      <Header />
      <main id="main" tabIndex={-1}>
        <Content />
      </main>
      <Footer />
      <TokenDialog />
    </>
  );
}

function Content() {
  const { state, session, sessionError, refresh } = usePage();
  if (sessionError !== null && !session) return <ProblemBox error={sessionError} retry={refresh} />;
  if (!session) return <p class="loading">Asking the server…</p>;
  if (state.view === "pipelines") return <PipelinesView />;
  if (!session.analytics) return <NoTable />;
  return state.view === "live" ? <LiveView /> : <TrafficView />;
}

/** The server has no table to count in. */
function NoTable() {
  return (
    <Nothing title="There is no access log to look at yet">
      <p>
        Fill a table with <code>logmill run web.yaml</code> and name it in the pipeline file, so
        that <code>logmill serve web.yaml</code> reads it:
      </p>
      <pre>
        <code>{"serve: { table: requests, time: ts }"}</code>
      </pre>
      <p>
        Meanwhile the <PageLink change={{ view: "pipelines" }}>pipelines</PageLink> say what was
        read and delivered.
      </p>
    </Nothing>
  );
}

function Header() {
  const { state, session } = usePage();
  return (
    <header class="top">
      <span class="brand">
        <Icon name="mill" />
        Logmill
      </span>
      <nav aria-label="Views" hidden={isReport}>
        {(Object.keys(NAMES) as View[]).map((view) => (
          <PageLink change={{ view, pipeline: null }} current={state.view === view} class="tab">
            {NAMES[view]}
          </PageLink>
        ))}
      </nav>
      {session?.analytics && (
        <span class="table-name" title={`Backend: ${session.analytics.backend}`}>
          <span class="sr-only">Table </span>
          {session.analytics.table}
        </span>
      )}
      <ThemeButton />
    </header>
  );
}

const THEMES: Record<Theme, string> = { system: "as the system", light: "light", dark: "dark" };

function ThemeButton() {
  const [theme, next] = useTheme();
  const label = `Colours: ${THEMES[theme]}`;
  return (
    <button type="button" class="icon" onClick={next} aria-label={label} title={label}>
      <Icon name={theme} />
    </button>
  );
}

function Footer() {
  const { session } = usePage();
  return (
    <footer>
      <span>Logmill {session?.version}</span>
      <span>All times in UTC</span>
      {!isReport && <a href="docs/">API</a>}
      {!isReport && <a href="licenses.txt">Third-party licences</a>}
    </footer>
  );
}

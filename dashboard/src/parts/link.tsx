// A link to another state of this page: opens in place, and in a new tab when asked so.

import type { ComponentChildren } from "preact";

import { isReport } from "../api/client";
import { usePage } from "../state/page";
import type { PageState } from "../state/url";

interface Props {
  change: Partial<PageState>;
  children: ComponentChildren;
  class?: string;
  current?: boolean;
}

export function PageLink({ change, children, current, ...rest }: Props) {
  const { link, go } = usePage();
  const onClick = (event: MouseEvent) => {
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(change);
  };
  if (isReport) return <span {...rest}>{children}</span>;
  const mark = current ? { "aria-current": "page" as const } : {};
  return (
    <a href={link(change)} onClick={onClick} {...mark} {...rest}>
      {children}
    </a>
  );
}

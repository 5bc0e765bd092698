import { Compartment, EditorSelection, EditorState, type Extension, Text } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, keymap, MatchDecorator, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import { type Ref, useEffect, useImperativeHandle, useRef, useState } from "react";
import { isAtEnd, watchTail } from "./followTail";
import { difference, type LogLine } from "./lines";
import "./LogText.css";

export interface LogTextHandle {
  /** Go to the next line that is searched for, down or up; after the last comes the first. */
  find: (direction: 1 | -1) => void;
}

interface Props {
  lines: readonly LogLine[];
  /** Where it is the same as before, `lines` may have lost some at the beginning and have more at the end, no more. */
  origin: object;
  query: string;
  wrap: boolean;
  follow: boolean;
  onFollow: (follow: boolean) => void;
  label: string;
  ref: Ref<LogTextHandle>;
}

const severities = new MatchDecorator({
  regexp: /\b(?:(ERROR|CRITICAL|FATAL|Traceback)|(WARNING|WARN))\b/g,
  decoration: (match) => Decoration.mark({ class: match[1] ? "log-error" : "log-warning" }),
});

function marked(decorator: MatchDecorator): Extension {
  return ViewPlugin.fromClass(
    class {
      decorations: DecorationSet;
      constructor(view: EditorView) {
        this.decorations = decorator.createDeco(view);
      }
      update(update: ViewUpdate) {
        this.decorations = decorator.updateDeco(update, this.decorations);
      }
    },
    { decorations: (plugin) => plugin.decorations },
  );
}

function found(query: string): Extension {
  if (!query) return [];
  const regexp = new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");
  return marked(new MatchDecorator({ regexp, decoration: Decoration.mark({ class: "log-found" }) }));
}

const attributes = (label: string) => EditorView.contentAttributes.of({ "aria-label": label, "aria-readonly": "true", tabindex: "0" });
const textOf = (lines: readonly LogLine[]) => Text.of(lines.length ? lines.map((line) => line.text) : [""]);

/** The lines of a log; only those in view are in the document, wrapped or not. */
export default function LogText({ lines, origin, query, wrap, follow, onFollow, label, ref }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const shown = useRef<{ lines: readonly LogLine[]; origin: object | null }>({ lines: [], origin: null });
  const parts = useRef({ query: new Compartment(), wrap: new Compartment(), label: new Compartment() });
  const following = useRef(follow);
  const tell = useRef(onFollow);
  useEffect(() => {
    tell.current = onFollow;
  });
  const [setFollowing] = useState(() => (atEnd: boolean) => {
    if (following.current === atEnd) return;
    following.current = atEnd;
    tell.current(atEnd);
  });

  useEffect(() => {
    const toEnd = EditorView.updateListener.of((update) => {
      if (!following.current || !(update.docChanged || update.geometryChanged)) return;
      update.view.requestMeasure({
        key: "end",
        read: () => null,
        write: (_read, { scrollDOM }) => {
          if (following.current) scrollDOM.scrollTop = scrollDOM.scrollHeight;
        },
      });
    });
    const go = (toEnd: boolean) => {
      const { scrollDOM } = created;
      scrollDOM.scrollTop = toEnd ? scrollDOM.scrollHeight : 0;
      setFollowing(isAtEnd(scrollDOM));
      return true;
    };
    const { query: byQuery, wrap: byWrap, label: byLabel } = parts.current;
    const created = new EditorView({
      parent: place.current!,
      state: EditorState.create({
        extensions: [
          EditorState.readOnly.of(true),
          EditorView.editable.of(false),
          keymap.of([
            { key: "Mod-Home", run: () => go(false) },
            { key: "Home", run: () => go(false) },
            { key: "Mod-End", run: () => go(true) },
            { key: "End", run: () => go(true) },
          ]),
          marked(severities),
          byQuery.of([]),
          byWrap.of([]),
          byLabel.of([]),
          toEnd,
        ],
      }),
    });
    const stopWatching = watchTail(created.scrollDOM, setFollowing);
    view.current = created;
    shown.current = { lines: [], origin: null };
    return () => {
      stopWatching();
      created.destroy();
    };
  }, [setFollowing]);

  useEffect(() => {
    view.current!.dispatch({ effects: parts.current.query.reconfigure(found(query)) });
  }, [query]);
  useEffect(() => {
    view.current!.dispatch({ effects: parts.current.wrap.reconfigure(wrap ? EditorView.lineWrapping : []) });
  }, [wrap]);
  useEffect(() => {
    view.current!.dispatch({ effects: parts.current.label.reconfigure(attributes(label)) });
  }, [label]);

  useEffect(() => {
    const { doc } = view.current!.state;
    const before = shown.current;
    const change = before.origin === origin && before.lines.length > 0 ? difference(before.lines, lines) : null;
    shown.current = { lines, origin };
    if (!change || change.removed === before.lines.length) {
      view.current!.dispatch({ changes: { from: 0, to: doc.length, insert: textOf(lines) }, selection: { anchor: 0 } });
      // Where all lines have room nothing scrolls, and one is at the end.
      view.current!.requestMeasure({
        key: "room",
        read: ({ scrollDOM }) => isAtEnd(scrollDOM),
        write: (atEnd) => {
          if (atEnd) setFollowing(true);
        },
      });
    } else if (change.removed || change.added.length) {
      const added = Text.of(["", ...change.added.map((line) => line.text)]);
      view.current!.dispatch({
        changes: [
          ...(change.removed ? [{ from: 0, to: doc.line(change.removed + 1).from }] : []),
          ...(change.added.length ? [{ from: doc.length, insert: added }] : []),
        ],
      });
    }
  }, [lines, origin, setFollowing]);

  useEffect(() => {
    following.current = follow;
    const { scrollDOM } = view.current!;
    if (follow) scrollDOM.scrollTop = scrollDOM.scrollHeight;
  }, [follow]);

  useImperativeHandle(ref, () => ({
    find: (direction) => {
      const { state } = view.current!;
      const wanted = query.toLowerCase();
      const count = state.doc.lines;
      const from = state.doc.lineAt(state.selection.main.head).number;
      for (let step = 1; step <= count && wanted; step += 1) {
        const line = state.doc.line(((from - 1 + direction * step + count * 2) % count) + 1);
        const at = line.text.toLowerCase().indexOf(wanted);
        if (at < 0) continue;
        const range = EditorSelection.range(line.from + at, line.from + at + wanted.length);
        setFollowing(false);
        view.current!.dispatch({ selection: range, effects: EditorView.scrollIntoView(range, { y: "center" }) });
        return;
      }
    },
  }));

  return <div ref={place} className="log-text" />;
}

// An image in which a box can be drawn, with a mouse, a pen, a finger or the arrow keys. Only the finished box
// is told to the server, in pixels of the original image.
export default {
  template: `
    <div class="field" tabindex="0" role="application" ref="frame" :aria-label="label"
         @pointerdown="begin" @pointermove="move" @pointerup="end" @pointercancel="cancel" @keydown="key">
      <img :src="src" alt="" draggable="false">
      <svg :viewBox="'0 0 ' + width + ' ' + height" preserveAspectRatio="none" aria-hidden="true">
        <g v-if="shown && !shown[2] && !shown[3]">
          <circle class="field-halo" :cx="shown[0]" :cy="shown[1]" :r="width / 60"/>
          <circle class="field-box" :cx="shown[0]" :cy="shown[1]" :r="width / 60"/>
        </g>
        <g v-else-if="shown">
          <rect class="field-halo" :x="shown[0]" :y="shown[1]" :width="shown[2]" :height="shown[3]"/>
          <rect class="field-box" :x="shown[0]" :y="shown[1]" :width="shown[2]" :height="shown[3]"/>
        </g>
      </svg>
    </div>`,
  props: { src: String, width: Number, height: Number, box: Array, label: String },
  data() {
    return { from: null, drawing: null, kept: this.box };
  },

  computed: {
    shown() {
      return this.drawing || this.kept;
    },
  },
  methods: {
    place(event) {
      const seen = this.$refs.frame.getBoundingClientRect();
      const within = (value, most) => Math.max(0, Math.min(most, Math.round(value)));
      return [
        within(((event.clientX - seen.left) * this.width) / seen.width, this.width),
        within(((event.clientY - seen.top) * this.height) / seen.height, this.height),
      ];
    },
    begin(event) {
      if (event.button !== 0 || !event.isPrimary) return;
      event.preventDefault();
      this.$refs.frame.focus({ preventScroll: true });
      this.$refs.frame.setPointerCapture(event.pointerId);
      this.from = this.place(event);
    },
    move(event) {
      if (!this.from || !event.isPrimary) return;
      const [x, y] = this.place(event);
      this.drawing = [
        Math.min(x, this.from[0]), Math.min(y, this.from[1]), Math.abs(x - this.from[0]), Math.abs(y - this.from[1]),
      ];
    },
    end(event) {
      if (!this.from) return;
      this.move(event);
      const drawn = this.drawing;
      const [x, y] = this.from;
      this.cancel();
      this.tell(drawn && drawn[2] > 2 && drawn[3] > 2 ? drawn : [x, y, 0, 0]); // a click is a point
    },
    cancel() {
      this.from = this.drawing = null;
    },
    key(event) {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!way) return;
      event.preventDefault();
      const step = Math.max(1, Math.round(this.width / 100));
      const side = Math.round(Math.min(this.width, this.height) / 5);
      const had = this.kept && (this.kept[2] || !event.shiftKey) ? this.kept : null;
      let [x, y, w, h] = had || [(this.width - side) >> 1, (this.height - side) >> 1, side, side];
      if (event.shiftKey) {
        w = Math.max(8, w + step * way[0]);
        h = Math.max(8, h + step * way[1]);
      } else {
        x += step * way[0];
        y += step * way[1];
      }
      w = Math.min(w, this.width);
      h = Math.min(h, this.height);
      x = Math.max(0, Math.min(this.width - w, x));
      y = Math.max(0, Math.min(this.height - h, y));
      this.tell([x, y, w, h]);
    },
    put(box) {
      this.kept = box;
    },
    tell(box) {
      this.kept = box; // at once: keys come faster than answers
      this.$emit("drawn", { box });
    },
  },
};

// Browsers refuse workers to pages opened from a folder (file:); the search of this site asks for one. Then a
// hidden frame runs the worker's script instead. Elsewhere the browser's own workers are used.
(() => {
  if (location.protocol !== "file:") return
  class IFrameWorker extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      this.inside = frame.contentWindow
      this.waiting = []
      const page = frame.contentDocument
      page.open()
      page.write("<!doctype html><title>worker</title><body></body>")
      page.close()
      this.inside.postMessage = data => this.answer(data)
      const script = page.createElement("script")
      script.src = new URL(url, document.baseURI).href
      script.onload = () => {
        const waiting = this.waiting
        this.waiting = null
        waiting.forEach(data => this.ask(data))
      }
      page.body.appendChild(script)
    }
    answer(data) {
      const event = new MessageEvent("message", { data })
      setTimeout(() => {
        this.dispatchEvent(event)
        if (typeof this.onmessage === "function") this.onmessage(event)
      })
    }
    ask(data) {
      this.inside.dispatchEvent(new MessageEvent("message", { data }))
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else this.ask(data)
    }
    terminate() {}
  }
  window.IFrameWorker = IFrameWorker
  window.Worker = IFrameWorker
})()
